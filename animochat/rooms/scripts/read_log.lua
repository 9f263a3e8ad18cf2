-- What was said in a room, which may be over.
--
-- KEYS[1]  tag of the room; the script reads, behind it: :log (stream), :meta (hash)
-- ARGV[1]  the slot of the member who reads, 'a' or 'b'
-- ARGV[2]  seq: only what was said after it is returned
--
-- Returns  what include/log_after.lua does
-- @include rooms/log_after
return {log_after(KEYS[1], ARGV[1], ARGV[2])}
