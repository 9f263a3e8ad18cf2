-- Record a worker's heartbeat, and return the state of the lobby.
--
-- KEYS[1]  tag of the lobby; the script touches, behind it: :epoch, :online (strings), :workers, :pool, :resting,
--          :selective, :searching, :away, :rooms (sorted sets), :worker:<worker> (sets), :counters (hash)
-- ARGV[1]  worker
-- ARGV[2]  a random string: the epoch, if the lobby has none yet
-- ARGV[3]  messages stored since the last heartbeat
-- ARGV[4]  time in milliseconds, or '' for the store's clock
--
-- Returns  {epoch: a different one than before means that the store lost its data,
--           1 if the worker was known (0: it is new, or so late that others may have begun to reap it),
--           people online in the lobby, subscribers of the worker's channel, live workers,
--           {dead workers}}
-- @include presence/now
-- @include presence/life
-- @include presence/count_online
-- @include presence/recount_online
-- @include presence/workers
local lobby, worker = KEYS[1], ARGV[1]
local now = clock(ARGV[4])
redis.call('SET', lobby .. ':epoch', ARGV[2], 'NX')
local beat = tonumber(redis.call('ZSCORE', lobby .. ':workers', worker) or 0)
-- A half means that only connect.lua has listed this worker, after the others took it for dead.
local known = beat > now - LEASE and beat % 1 == 0
redis.call('ZADD', lobby .. ':workers', now, worker)
if ARGV[3] ~= '0' then redis.call('HINCRBY', lobby .. ':counters', 'messages', ARGV[3]) end
local kept = {':epoch', ':online', ':workers', ':pool', ':resting', ':selective', ':searching', ':away', ':rooms'}
kept[#kept + 1] = ':worker:' .. worker
for _, name in ipairs(kept) do
  redis.call('PEXPIRE', lobby .. name, LIFE)
end
if not known then recount_online(lobby) end
return {
  redis.call('GET', lobby .. ':epoch'), known and 1 or 0, count_online(lobby, 0),
  redis.call('PUBSUB', 'NUMSUB', channel(lobby, worker))[2],
  redis.call('ZCOUNT', lobby .. ':workers', '(' .. (now - LEASE), '+inf'),
  redis.call('ZRANGEBYSCORE', lobby .. ':workers', '-inf', now - LEASE),
}
