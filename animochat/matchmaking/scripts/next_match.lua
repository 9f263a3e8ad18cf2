-- Leave the room, start the cooldown (unless the partner is away) and wait again. For a person in no room: the same as
-- find_match.
--
-- KEYS[1]  tag of the lobby; the script touches what find_match touches, and behind it :ended (sorted set),
--          :past:<room> (hash)
-- ARGV[1]  person
-- ARGV[2]  the person's connection
-- ARGV[3]  seed, a random string
-- ARGV[4]  milliseconds for which two people who were matched do not meet again
-- ARGV[5]  milliseconds of cooldown after a skip
-- ARGV[6]  interest wait: milliseconds after the cooldown for which a person with interests meets only people who
--          share one
-- ARGV[7]  the person's interests as names of sets, divided by spaces; '' for none
-- ARGV[8]  the same in the person's own spelling, a JSON list in the same order; '' for none
-- ARGV[9]  time in milliseconds, or '' for the store's clock
--
-- Returns  as find_match, but never 'in-room'
-- @include presence/now
-- @include matchmaking/answer
-- @include rooms/end_room
-- @include matchmaking/begin_waiting
local lobby, person = KEYS[1], ARGV[1]
local now = clock(ARGV[9])
local record = redis.call('HMGET', lobby .. ':person:' .. person, 'conn', 'room', 'waiting', 'rest', 'v')
if record[1] ~= ARGV[2] then return {'unknown'} end
if record[3] then return answer(lobby, person, 'waiting', math.max(0, tonumber(record[4] or 0) - now), '', now) end
local version, rest = tonumber(record[5]) + 1, tonumber(record[4] or 0)
if record[2] then
  local room = redis.call('HMGET', lobby .. ':room:' .. record[2], 'a', 'b')
  local partner = room[1] == person and room[2] or room[1]
  end_room(lobby, record[2], person, 'skipped', now)
  -- Leaving a partner who is away is no skip.
  if not (partner and redis.call('ZSCORE', lobby .. ':away', partner)) then
    rest = now + tonumber(ARGV[5])
    redis.call('HSET', lobby .. ':person:' .. person, 'rest', rest)
  end
end
local state, left =
  begin_waiting(lobby, person, version, rest, ARGV[7], ARGV[8], ARGV[6], now, ARGV[3], ARGV[4])
return answer(lobby, person, state, left, record[2], now)
