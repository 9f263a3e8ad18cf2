-- A worker has sent an alert, has given it up, wants to keep it for longer, or could not send it. Changes nothing where
-- another worker has the alert by now.
--
-- KEYS[1]  tag of the lobby; the script touches, behind it: :alerts (stream), :alerts-due (sorted set), :alerts-tries
--          (hash)
-- ARGV[1]  the worker
-- ARGV[2]  id of the alert
-- ARGV[3]  number of the try
-- ARGV[4]  milliseconds until any worker may take it, or '' where it is done with
-- ARGV[5]  time in milliseconds, or '' for the store's clock
--
-- Returns  1, or 0 where the alert is no longer this worker's
-- @include presence/now
local lobby, id, now = KEYS[1], ARGV[2], clock(ARGV[5])
local due, tries = lobby .. ':alerts-due', lobby .. ':alerts-tries'
if redis.call('HGET', tries, id) ~= ARGV[3] .. ' ' .. ARGV[1] then return 0 end
if ARGV[4] ~= '' then
  redis.call('ZADD', due, now + tonumber(ARGV[4]), id)
else
  redis.call('XDEL', lobby .. ':alerts', id)
  redis.call('ZREM', due, id)
  redis.call('HDEL', tries, id)
end
return 1
