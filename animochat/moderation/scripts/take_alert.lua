-- A worker that sends alerts asks for one that is due. It has the alert for the length of a lease, and settles it
-- (settle_alert.lua); another worker gets the alert of one that dies meanwhile.
--
-- KEYS[1]  tag of the lobby; the script touches, behind it: :alerts (stream), :alerts-due (sorted set), :alerts-tries
--          (hash), :alerts-wanted (string), :report:<room> (hash)
-- ARGV[1]  the worker
-- ARGV[2]  milliseconds of the lease
-- ARGV[3]  time in milliseconds, or '' for the store's clock
--
-- Returns  {milliseconds until the next alert is due, or -1 where none waits}
--          {0, id, number of this try, {field, value, …}, details of its report or '', evidence or ''}
-- @include presence/now
-- @include presence/life
local lobby, stream, due, tries = KEYS[1], KEYS[1] .. ':alerts', KEYS[1] .. ':alerts-due', KEYS[1] .. ':alerts-tries'
local now, wanted = clock(ARGV[3]), KEYS[1] .. ':alerts-wanted'
if redis.call('PTTL', wanted) < LIFE / 2 then redis.call('SET', wanted, 1, 'PX', LIFE) end
while true do
  local first = redis.call('ZRANGE', due, 0, 0, 'WITHSCORES')
  if not first[1] then return {-1} end
  local id, at = first[1], tonumber(first[2])
  if at > now then return {at - now} end
  local entry = redis.call('XRANGE', stream, id, id)[1]
  if entry then
    local count = tonumber(string.match(redis.call('HGET', tries, id) or '0', '^%d+')) + 1
    redis.call('ZADD', due, now + tonumber(ARGV[2]), id)
    redis.call('HSET', tries, id, count .. ' ' .. ARGV[1])
    redis.call('PEXPIRE', tries, LIFE)
    local words = {}
    for i = 1, #entry[2], 2 do
      if entry[2][i] == 'report' and entry[2][i + 1] ~= '' then
        words = redis.call('HMGET', lobby .. ':report:' .. entry[2][i + 1], 'details', 'evidence')
      end
    end
    return {0, id, count, entry[2], words[1] or '', words[2] or ''}
  end
  -- lost, because too many waited
  redis.call('ZREM', due, id)
  redis.call('HDEL', tries, id)
end
