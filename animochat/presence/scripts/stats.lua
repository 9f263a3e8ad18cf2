-- Numbers of the whole system.
--
-- KEYS[1]  tag of the lobby; the script reads, behind it: :workers, :pool, :resting, :selective, :rooms (sorted
--          sets), :worker:<worker> (sets), :counters (hash)
-- ARGV[1]  time in milliseconds, or '' for the store's clock
--
-- Returns  {people online, people waiting, rooms, workers, matches ever, messages ever}
-- @include presence/now
-- @include presence/workers
local lobby = KEYS[1]
local now = clock(ARGV[1])
local online = 0
for _, name in ipairs(redis.call('ZRANGE', lobby .. ':workers', 0, -1)) do
  online = online + redis.call('SCARD', lobby .. ':worker:' .. name)
end
-- Everybody who waits is in one of these; who is away is in none.
local waiting = 0
for _, name in ipairs({':pool', ':resting', ':selective'}) do waiting = waiting + redis.call('ZCARD', lobby .. name) end
local counters = redis.call('HMGET', lobby .. ':counters', 'matches', 'messages')
return {
  online, waiting,
  redis.call('ZCARD', lobby .. ':rooms'), redis.call('ZCOUNT', lobby .. ':workers', '(' .. (now - LEASE), '+inf'),
  tonumber(counters[1] or 0), tonumber(counters[2] or 0),
}
