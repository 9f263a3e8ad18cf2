-- List open reports, the oldest first.
--
-- KEYS[1]  tag of the lobby; the script touches, behind it: :reports, :reported:<person>, :bans (sorted sets),
--          :report:<room> (hashes)
-- ARGV[1]  how many to leave out
-- ARGV[2]  how many to return
-- ARGV[3]  milliseconds for which a report is kept
-- ARGV[4]  time in milliseconds, or '' for the store's clock
--
-- Returns  {how many are open, {id, how many open reports the reported person has,
--           end of that person's ban ('inf': permanent) or '', {field, value, …}}, …}
-- @include presence/now
local lobby, reports = KEYS[1], KEYS[1] .. ':reports'
local now = clock(ARGV[4])
redis.call('ZREMRANGEBYSCORE', reports, '-inf', now - ARGV[3])
local result = {redis.call('ZCARD', reports)}
for _, id in ipairs(redis.call('ZRANGE', reports, ARGV[1], ARGV[1] + ARGV[2] - 1)) do
  local key = lobby .. ':report:' .. id
  local reported = redis.call('HGET', key, 'reported')
  if reported then
    local until_when = redis.call('ZSCORE', lobby .. ':bans', 'person:' .. reported)
    result[#result + 1] = {
      id, redis.call('ZCOUNT', lobby .. ':reported:' .. reported, '(' .. now - ARGV[3], '+inf'),
      until_when and tonumber(until_when) > now and until_when or '', redis.call('HGETALL', key),
    }
  else
    redis.call('ZREM', reports, id)
  end
end
return result
