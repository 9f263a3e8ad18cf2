-- A member of the room is at this worker from now on: messages go there, and what was said before is returned. In one
-- script, so that no message falls between the two. Where the room is over, or the member has registered since, the log
-- is returned and nothing is changed.
--
-- KEYS[1]  tag of the room; the script touches, behind it: :log (stream), :meta (hash)
-- ARGV[1]  the member's slot, 'a' or 'b'
-- ARGV[2]  worker
-- ARGV[3]  seq: only what was said after it is returned
-- ARGV[4]  milliseconds that an untouched log is kept
-- ARGV[5]  the highest seq that the worker knows of: the store may have lost the end of the log
-- ARGV[6]  the version of the member's registration: words of an earlier one are refused from now on
--
-- Returns  {the room's last seq, {seq, slot, timestamp in ms, body, …}, the partner's last seq where it is kept}
local log, meta = KEYS[1] .. ':log', KEYS[1] .. ':meta'
local known = redis.call('HMGET', meta, 'seq', 'v' .. ARGV[1])
local last = math.max(tonumber(known[1] or 0), tonumber(ARGV[5]))
if tonumber(known[2] or 0) <= tonumber(ARGV[6]) then
  redis.call('HSET', meta, ARGV[1], ARGV[2], 'v' .. ARGV[1], ARGV[6], 'seq', last)
  redis.call('PEXPIRE', meta, ARGV[4])
  redis.call('PEXPIRE', log, ARGV[4])
end
local entries = {}
for _, entry in ipairs(redis.call('XRANGE', log, '(' .. ARGV[3] .. '-0', '+')) do
  local seq = string.match(entry[1], '^%d+')
  for _, value in ipairs({seq, entry[2][2], entry[2][4], entry[2][6]}) do entries[#entries + 1] = value end
end
local theirs = redis.call('HGET', meta, 'last:' .. (ARGV[1] == 'a' and 'b' or 'a'))
return {last, entries, tonumber(theirs or 0)}
