-- Add a worker's reading: its measurements since the last one.
--
-- KEYS[1]  the readings (sorted set: the time, a space and the reading, by the time)
-- ARGV[1]  the reading (JSON, telemetry/aggregates.py)
-- ARGV[2]  milliseconds for which readings are kept
-- ARGV[3]  maximal number of readings: beyond, the oldest ones are dropped, of any worker
-- ARGV[4]  time in milliseconds, or '' for the store's clock
--
-- Returns  the time
-- @include presence/wall_clock
local now = wall_clock(ARGV[4])
-- The time in front makes entries unique: an idle worker always has the same reading.
redis.call('ZADD', KEYS[1], now, now .. ' ' .. ARGV[1])
redis.call('ZREMRANGEBYSCORE', KEYS[1], '-inf', now - ARGV[2])
redis.call('ZREMRANGEBYRANK', KEYS[1], 0, -1 - ARGV[3])
redis.call('PEXPIRE', KEYS[1], ARGV[2])
return now
