-- Find a partner for a person, or let the person wait.
--
-- KEYS[1]  tag of the lobby; the script touches, behind it:
--          :person:<person> (hash), :met:<person>, :blocked:<device>, :pool, :resting, :selective, :searching,
--          :workers, :rooms, :away, :interest:<interest> (sorted sets), :room:<room> (hash), :counters (hash)
-- ARGV[1]  person
-- ARGV[2]  the person's connection
-- ARGV[3]  seed, a random string
-- ARGV[4]  milliseconds for which two people who were matched do not meet again
-- ARGV[5]  interest wait: milliseconds for which a person with interests meets only people who share one
-- ARGV[6]  the person's interests as names of sets, divided by spaces; '' for none
-- ARGV[7]  the same in the person's own spelling, a JSON list in the same order; '' for none
-- ARGV[8]  time in milliseconds, or '' for the store's clock
--
-- Returns  {'unknown'}    the store doesn't know this connection
--          otherwise the reply of include/answer.lua, with the state
--          'in-room'      nothing was changed
--          'waiting'      the person searches, or is in a cooldown that lasts the given number of ms
--          'matched'      the reply contains the room, and both workers get a notice
-- @include presence/now
-- @include matchmaking/answer
-- @include matchmaking/begin_waiting
local lobby, person = KEYS[1], ARGV[1]
local now = clock(ARGV[8])
local record = redis.call('HMGET', lobby .. ':person:' .. person, 'conn', 'room', 'waiting', 'rest', 'v')
if record[1] ~= ARGV[2] then return {'unknown'} end
if record[2] then return answer(lobby, person, 'in-room', 0, '', now) end
if record[3] then return answer(lobby, person, 'waiting', math.max(0, tonumber(record[4] or 0) - now), '', now) end
local version, rest = tonumber(record[5]) + 1, tonumber(record[4] or 0)
local state, left =
  begin_waiting(lobby, person, version, rest, ARGV[6], ARGV[7], ARGV[5], now, ARGV[3], ARGV[4])
return answer(lobby, person, state, left, '', now)
