-- Take rooms that are over and whose logs have to be closed. The worker removes them from the agenda (ZREM) afterwards;
-- if it dies, others get them.
--
-- KEYS[1]  tag of the lobby; the script touches, behind it: :ended (sorted set), :past:<room> (hash), :clock (string)
-- ARGV[1]  maximal number of rooms
-- ARGV[2]  milliseconds until others get them
-- ARGV[3]  milliseconds for which it is remembered who was in the rooms
-- ARGV[4]  time in milliseconds, or '' for the store's clock
--
-- Returns  rooms
-- @include presence/now
local ended, now = KEYS[1] .. ':ended', clock(ARGV[4])
local rooms = redis.call('ZRANGEBYSCORE', ended, '-inf', now, 'LIMIT', 0, ARGV[1])
for _, room in ipairs(rooms) do
  local past = KEYS[1] .. ':past:' .. room
  if redis.call('PTTL', past) > tonumber(ARGV[3]) then redis.call('PEXPIRE', past, ARGV[3]) end
  redis.call('ZADD', ended, now + tonumber(ARGV[2]), room)
end
return rooms
