-- A person asks for a partner.
--
-- KEYS[1]  tag of the lobby; the script touches, behind it:
--          :person:<person> (hash), :met:<person> (sorted set), :pool, :resting, :selective, :searching, :workers,
--          :rooms, :interest:<interest> (sorted sets), :room:<room> (hash), :counters (hash)
-- ARGV[1]  person
-- ARGV[2]  the person's connection
-- ARGV[3]  seed, a random string
-- ARGV[4]  milliseconds for which two who met do not meet again
-- ARGV[5]  milliseconds for which somebody who names interests meets only people who share one
-- ARGV[6]  the person's interests as names of sets, divided by spaces; '' for none
-- ARGV[7]  the same in the person's own spelling, a JSON list in the same order; '' for none
-- ARGV[8]  time in milliseconds, or '' for the store's clock
--
-- Returns  {'unknown'}                      the store doesn't know this connection
--          {'in-room'}
--          {'waiting', ms, version, ended}  searching, or resting for ms more
--          {'matched', 0, version, ended}   both workers hear of it
--          ended: '<room> <reason>' of the room that the partner ended last, for a worker that hasn't heard of it yet
-- @include presence/now
-- @include matchmaking/begin_waiting
local lobby, person = KEYS[1], ARGV[1]
local now = clock(ARGV[8])
local record = redis.call('HMGET', lobby .. ':person:' .. person, 'conn', 'room', 'waiting', 'rest', 'v', 'ended')
if record[1] ~= ARGV[2] then return {'unknown'} end
if record[2] then return {'in-room'} end
if record[3] then return {'waiting', math.max(0, tonumber(record[4] or 0) - now), tonumber(record[5]), ''} end
local version, rest = tonumber(record[5]) + 1, tonumber(record[4] or 0)
local state, left =
  begin_waiting(lobby, person, version, rest, ARGV[6], ARGV[7], ARGV[5], now, ARGV[3], ARGV[4])
return {state, left, version, record[6] or ''}
