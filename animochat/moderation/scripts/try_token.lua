-- Someone has shown the operator's token, or a wrong one: decides whether it is looked at, and counts a wrong one. Both
-- in one step, so that of any number shown at once no more than the limit are tried.
--
-- KEYS[1]  tag of the lobby; the script touches, behind it: :attempts:<keyed hash> (string)
-- ARGV[1]  keyed hash of the address that it came from
-- ARGV[2]  '1' where the token is right, '0' where it is wrong
-- ARGV[3]  how many wrong ones are allowed
-- ARGV[4]  milliseconds after which they are forgotten
--
-- Returns  0 where the token was looked at, or the milliseconds for which none is taken from this address
local key, period = KEYS[1] .. ':attempts:' .. ARGV[1], tonumber(ARGV[4])
local wrong = tonumber(redis.call('GET', key) or 0)
local left = wrong > 0 and redis.call('PTTL', key) or period
if left < 0 then -- a counter without an end would lock the address out for ever
  left = period
  redis.call('PEXPIRE', key, period)
end
if wrong >= tonumber(ARGV[3]) then return math.max(1, left) end
if ARGV[2] ~= '1' then redis.call('SET', key, wrong + 1, 'PX', math.max(1, left)) end
return 0
