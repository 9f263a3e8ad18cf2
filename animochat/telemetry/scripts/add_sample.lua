-- A worker adds what it has measured since it last did.
--
-- KEYS[1]  the readings (sorted set: the time, a space and the reading, by the time)
-- ARGV[1]  the reading (JSON, telemetry/aggregates.py)
-- ARGV[2]  milliseconds for which readings are kept
-- ARGV[3]  how many are kept at most: beyond that the oldest go, whoever wrote them
-- ARGV[4]  time in milliseconds, or '' for the store's clock
--
-- Returns  the time
-- @include presence/wall_clock
local now = wall_clock(ARGV[4])
-- With the time in front no two are the same: a worker with nothing to do has the same to say each time.
redis.call('ZADD', KEYS[1], now, now .. ' ' .. ARGV[1])
redis.call('ZREMRANGEBYSCORE', KEYS[1], '-inf', now - ARGV[2])
redis.call('ZREMRANGEBYRANK', KEYS[1], 0, -1 - ARGV[3])
redis.call('PEXPIRE', KEYS[1], ARGV[2])
return now
