-- Attach a room's member to a worker: messages go there from now on, and earlier ones are returned. One script does
-- both, so that no message is missed in between. If the room is over, or the member has registered since, the script
-- only returns the log.
--
-- KEYS[1]  tag of the room; the script touches, behind it: :log (stream), :meta (hash)
-- ARGV[1]  the member's slot, 'a' or 'b'
-- ARGV[2]  worker
-- ARGV[3]  seq: only messages after it are returned
-- ARGV[4]  milliseconds that an untouched log is kept
-- ARGV[5]  the highest seq that the worker knows: the store may have lost the end of the log
-- ARGV[6]  the version of the member's registration: messages of an earlier one are refused from now on
-- ARGV[7]  the seq of this member's last message, as far as the worker knows; 0 for none
-- ARGV[8]  '1', or '0' if messages may not be stored
--
-- Returns  {the room's last seq, the three values of include/log_after.lua,
--           1 if the script has found that the store lost this member's last message: a receiver that hasn't got that
--           message misses it; else 0}
-- @include rooms/log_after
local log, meta, slot, said = KEYS[1] .. ':log', KEYS[1] .. ':meta', ARGV[1], tonumber(ARGV[7])

-- Return whether the store has lost the member's last message. A full log has dropped it regularly.
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
