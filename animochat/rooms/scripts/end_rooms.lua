-- Ends rooms once more that were over when the store was newer than it is: a worker saw it.
--
-- KEYS[1]  tag of the lobby; the script touches, behind it: :person:<person>, :room:<room> (hashes), :rooms, :ended
--          (sorted sets)
-- ARGV     rooms
--
-- Returns  how many were there
-- @include rooms/end_room
local lobby, found = KEYS[1], 0
for _, room in ipairs(ARGV) do
  if redis.call('EXISTS', lobby .. ':room:' .. room) == 1 then
    end_room(lobby, room, false, 'disconnected')
    found = found + 1
  end
end
return found
