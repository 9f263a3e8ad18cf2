-- Decide whether the operator's token, right or wrong, is checked at all, and count a wrong one. One script does both,
-- so that tokens shown at the same time can't exceed the limit.
--
-- KEYS[1]  tag of the lobby; the script touches, behind it: :attempts:<keyed hash> (string)
-- ARGV[1]  keyed hash of the client's address
-- ARGV[2]  '1' if the token is right, '0' if it is wrong
-- ARGV[3]  how many wrong tokens are allowed
-- ARGV[4]  milliseconds after which they are forgotten
--
-- Returns  0 if the token was checked, or the milliseconds for which none is accepted from this address
local key, period = KEYS[1] .. ':attempts:' .. ARGV[1], tonumber(ARGV[4])
local wrong = tonumber(redis.call('GET', key) or 0)
local left = wrong > 0 and redis.call('PTTL', key) or period
if left < 0 then -- without an expiry the counter would lock the address out permanently
  left = period
  redis.call('PEXPIRE', key, period)
end
if wrong >= tonumber(ARGV[3]) then return math.max(1, left) end
if ARGV[2] ~= '1' then redis.call('SET', key, wrong + 1, 'PX', math.max(1, left)) end
return 0
