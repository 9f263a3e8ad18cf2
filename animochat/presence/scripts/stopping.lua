-- Mark a worker as stopping, and return whether its people can go to another worker.
--
-- KEYS[1]  tag of the lobby; the script touches, behind it: :stopping (set), :workers (sorted set)
-- ARGV[1]  the worker
-- ARGV[2]  time in milliseconds, or '' for the store's clock
--
-- Returns  how many live workers are not stopping
-- @include presence/now
-- @include presence/life
-- @include presence/workers
local lobby = KEYS[1]
local now = clock(ARGV[2])
redis.call('SADD', lobby .. ':stopping', ARGV[1])
redis.call('PEXPIRE', lobby .. ':stopping', LIFE)
local staying = 0
for _, name in ipairs(redis.call('ZRANGEBYSCORE', lobby .. ':workers', '(' .. (now - LEASE), '+inf')) do
  if redis.call('SISMEMBER', lobby .. ':stopping', name) == 0 then staying = staying + 1 end
end
return staying
