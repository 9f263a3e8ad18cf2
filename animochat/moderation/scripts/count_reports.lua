-- Numbers of open reports.
--
-- KEYS[1]  tag of the lobby; the script reads, behind it: :reports (sorted set), :report:<room> (hashes)
-- ARGV[1]  milliseconds for which a report is kept
-- ARGV[2]  time in milliseconds, or '' for the store's clock
--
-- Returns  {age of the oldest in milliseconds (0 without one), reason, number, …}
-- @include presence/now
local lobby, now = KEYS[1], clock(ARGV[2])
local open = redis.call('ZRANGEBYSCORE', lobby .. ':reports', '(' .. now - ARGV[1], '+inf', 'WITHSCORES')
local counts, age = {}, 0
for i = 1, #open, 2 do
  local reason = redis.call('HGET', lobby .. ':report:' .. open[i], 'reason')
  if reason then
    counts[reason] = (counts[reason] or 0) + 1
    age = math.max(age, now - open[i + 1])
  end
end
local result = {age}
for reason, count in pairs(counts) do
  result[#result + 1] = reason
  result[#result + 1] = count
end
return result
