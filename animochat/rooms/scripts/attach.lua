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
-- ARGV[7]  the seq of what this member said last, as far as the worker knows; 0 for nothing
-- ARGV[8]  '1', or '0' where messages may not be stored
--
-- Returns  {the room's last seq, the three things that include/log_after.lua returns,
--           1 where it has just become known that the store lost what this member said last: a receiver who has not got
--           that misses it; else 0}
-- @include rooms/log_after
local log, meta, slot, said = KEYS[1] .. ':log', KEYS[1] .. ':meta', ARGV[1], tonumber(ARGV[7])

-- Is what the member said last in the store no more? A log that is full has let go of it in time.
local function is_lost()
  if said == 0 then return false end
  if ARGV[8] ~= '1' then return said > tonumber(redis.call('HGET', meta, 'last:' .. slot) or 0) end
  if #redis.call('XRANGE', log, said .. '-0', said .. '-0') > 0 then return false end
  local first = redis.call('XRANGE', log, '-', '+', 'COUNT', 1)[1]
  return not first or tonumber(string.match(first[1], '^%d+')) < said
end

local known = redis.call('HMGET', meta, 'seq', 'v' .. slot, 'lost:' .. slot, 'last:' .. slot)
local last = math.max(tonumber(known[1] or 0), tonumber(ARGV[5]))
local lost = false
if tonumber(known[2] or 0) <= tonumber(ARGV[6]) then
  redis.call('HSET', meta, slot, ARGV[2], 'v' .. slot, ARGV[6], 'seq', last)
  lost = said > tonumber(known[3] or 0) and is_lost()
  if lost then
    redis.call('HSET', meta, 'lost:' .. slot, said, 'last:' .. slot, math.max(said, tonumber(known[4] or 0)))
  end
  redis.call('PEXPIRE', meta, ARGV[4])
  redis.call('PEXPIRE', log, ARGV[4])
end
local entries, theirs, theirs_lost = log_after(KEYS[1], slot, ARGV[3])
return {last, entries, theirs, theirs_lost, lost and 1 or 0}
