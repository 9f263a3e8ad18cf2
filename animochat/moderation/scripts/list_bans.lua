-- List the bans that hold; those that end first come first.
--
-- KEYS[1]  tag of the lobby; the script touches, behind it: :bans (sorted set), :ban:<subject> (hashes)
-- ARGV[1]  how many to leave out
-- ARGV[2]  how many to return
-- ARGV[3]  time in milliseconds, or '' for the store's clock
--
-- Returns  {how many there are, {subject, end ('inf': permanent), {field, value, …}}, …}
-- @include presence/now
local lobby, bans = KEYS[1], KEYS[1] .. ':bans'
redis.call('ZREMRANGEBYSCORE', bans, '-inf', clock(ARGV[3]))
local result = {redis.call('ZCARD', bans)}
local some = redis.call('ZRANGE', bans, ARGV[1], ARGV[1] + ARGV[2] - 1, 'WITHSCORES')
for i = 1, #some, 2 do
  -- A record expires by the store's clock, and so before the ban ends where the lobby's clock is behind.
  local record = redis.call('HGETALL', lobby .. ':ban:' .. some[i])
  if #record > 0 then result[#result + 1] = {some[i], some[i + 1], record} end
end
return result
