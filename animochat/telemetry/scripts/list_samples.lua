-- List a portion of the readings, the oldest first: whole intervals that are over.
--
-- KEYS[1]  the readings (sorted set: the time, a space and the reading, by the time)
-- ARGV[1]  the earliest time
-- ARGV[2]  maximal number of readings
-- ARGV[3]  milliseconds of an interval; intervals begin at multiples of it
-- ARGV[4]  milliseconds for which readings are kept
-- ARGV[5]  time in milliseconds, or '' for the store's clock
--
-- Returns  {the time, a space and the reading, …}
-- @include presence/wall_clock
local now = wall_clock(ARGV[5])
local interval, oldest = tonumber(ARGV[3]), now - ARGV[4]
-- From an interval that is still complete to one that can't get any more readings.
local from = math.max(tonumber(ARGV[1]), oldest + -oldest % interval)
return redis.call('ZRANGEBYSCORE', KEYS[1], from, '(' .. (now - now % interval), 'LIMIT', 0, ARGV[2])
