-- List reports: open ones, threat and underage first, then the oldest; or resolved ones, the latest first.
--
-- KEYS[1]  tag of the lobby; the script touches, behind it: :reports, :resolved, :reported:<person>, :bans
--          (sorted sets), :report:<report> (hashes)
-- ARGV[1]  how many to leave out
-- ARGV[2]  how many to return
-- ARGV[3]  milliseconds for which a report is kept
-- ARGV[4]  'open' or 'resolved'
-- ARGV[5]  reason, or '' for all
-- ARGV[6]  time in milliseconds, or '' for the store's clock
--
-- Returns  {how many of that state and reason there are, {id, how many open reports the reported person has,
--           end of that person's ban ('inf': permanent) or '', {field, value, …}}, …}
-- @include presence/now
-- @include moderation/ranked_reports
local lobby = KEYS[1]
local now = clock(ARGV[6])
redis.call('ZREMRANGEBYSCORE', lobby .. ':reports', '-inf', now - ARGV[3])
local ranked = ranked_reports(lobby, ARGV[4], ARGV[5])
local result = {#ranked}
for i = ARGV[1] + 1, math.min(ARGV[1] + ARGV[2], #ranked) do
  local id = ranked[i][1]
  local key = lobby .. ':report:' .. id
  local reported = redis.call('HGET', key, 'reported')
  local until_when = redis.call('ZSCORE', lobby .. ':bans', 'person:' .. reported)
  result[#result + 1] = {
    id, redis.call('ZCOUNT', lobby .. ':reported:' .. reported, '(' .. now - ARGV[3], '+inf'),
    until_when and tonumber(until_when) > now and until_when or '', redis.call('HGETALL', key),
  }
end
return result
