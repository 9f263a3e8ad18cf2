-- Close rooms that are over: they accept no further messages, and their logs expire after a while. The first call for a
-- room decides when; later calls change nothing.
--
-- KEYS[i]  tag of the i-th room; the script touches, behind it: :log (stream), :meta (hash)
-- ARGV[1]  milliseconds for which the log is kept
--
-- Returns  1
for _, room in ipairs(KEYS) do
  local meta = room .. ':meta'
  if redis.call('HGET', meta, 'va') ~= 'inf' then
    redis.call('HSET', meta, 'va', 'inf', 'vb', 'inf') -- no registration is recent enough
    redis.call('PEXPIRE', meta, ARGV[1])
    redis.call('PEXPIRE', room .. ':log', ARGV[1])
  end
end
return 1
