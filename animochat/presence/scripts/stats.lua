-- Return the lobby's numbers.
--
-- KEYS[1]  tag of the lobby; the script reads, behind it: :online (string), :workers, :pool, :resting, :selective,
--          :rooms (sorted sets), :counters (hash)
-- ARGV[1]  time in milliseconds, or '' for the store's clock
--
-- Returns  {people online, people waiting, rooms, workers, matches ever, messages ever}
-- @include presence/now
-- @include presence/count_online
-- @include presence/workers
local lobby = KEYS[1]
local now = clock(ARGV[1])
-- Everyone who waits is in one of these sets; a person who is away is in none.
local waiting = 0
for _, name in ipairs({':pool', ':resting', ':selective'}) do waiting = waiting + redis.call('ZCARD', lobby .. name) end
local counters = redis.call('HMGET', lobby .. ':counters', 'matches', 'messages')
return {
  count_online(lobby, 0), waiting,
  redis.call('ZCARD', lobby .. ':rooms'), redis.call('ZCOUNT', lobby .. ':workers', '(' .. (now - LEASE), '+inf'),
  tonumber(counters[1] or 0), tonumber(counters[2] or 0),
}
