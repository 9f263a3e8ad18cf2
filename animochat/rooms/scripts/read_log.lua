-- Read the messages of a room, which may be over.
--
-- KEYS[1]  tag of the room; the script reads, behind it: :log (stream), :meta (hash)
-- ARGV[1]  the slot of the member who reads, 'a' or 'b'
-- ARGV[2]  seq: only messages after it are returned
--
-- Returns  the values of include/log_after.lua
-- @include rooms/log_after
return {log_after(KEYS[1], ARGV[1], ARGV[2])}
