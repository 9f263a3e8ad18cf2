-- End rooms again: a worker saw their end, but the store has lost it.
--
-- KEYS[1]  tag of the lobby; the script touches, behind it: :person:<person>, :room:<room> (hashes), :rooms, :ended
--          (sorted sets)
-- ARGV     rooms
--
-- Returns  how many of them the store had
-- @include rooms/end_room
local lobby, found = KEYS[1], 0
for _, room in ipairs(ARGV) do
  if redis.call('EXISTS', lobby .. ':room:' .. room) == 1 then
    end_room(lobby, room, false, 'disconnected')
    found = found + 1
  end
end
return found
