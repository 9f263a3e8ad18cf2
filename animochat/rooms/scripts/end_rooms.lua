-- End rooms again: a worker saw their end, but the store has lost it.
--
-- KEYS[1]  tag of the lobby; the script touches, behind it: :person:<person>, :room:<room>, :past:<room> (hashes),
--          :rooms, :ended (sorted sets), :clock (string)
-- ARGV[1]  time in milliseconds, or '' for the store's clock
-- then the rooms
--
-- Returns  how many of them the store had
-- @include presence/now
-- @include rooms/end_room
local lobby, found = KEYS[1], 0
local now = clock(ARGV[1])
for i = 2, #ARGV do
  local room = ARGV[i]
  if redis.call('EXISTS', lobby .. ':room:' .. room) == 1 then
    end_room(lobby, room, false, 'disconnected', now)
    found = found + 1
  end
end
return found
