-- Try the writes of a join and leave no trace: a store that is full, is a replica, has no disk left or denies our user
-- write access fails here with the error that a join would get.
--
-- KEYS[1]  tag of the lobby; the script touches, behind it: :probe:<worker> (hash, sorted set, set, string in turn)
-- ARGV[1]  worker
--
-- Returns  1, or the first error
-- @include presence/workers
local key = KEYS[1] .. ':probe:' .. ARGV[1]
local function failed(reply)
  if type(reply) == 'table' and reply.err then return reply end
end
local function refused(reply)
  return failed(reply) or failed(redis.pcall('PEXPIRE', key, 1000)) or failed(redis.pcall('DEL', key))
end
return refused(redis.pcall('HSET', key, 'v', 1)) or refused(redis.pcall('HINCRBY', key, 'v', 1))
  or refused(redis.pcall('ZADD', key, 1, 'v')) or refused(redis.pcall('SADD', key, 'v'))
  or refused(redis.pcall('INCRBY', key, 1)) or failed(redis.pcall('PUBLISH', channel(KEYS[1], 'probe'), ''))
  or failed(redis.pcall('PUBSUB', 'NUMSUB', channel(KEYS[1], 'probe'))) or 1
