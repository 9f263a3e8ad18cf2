-- @include matchmaking/keep_apart
-- @include rooms/end_room
-- A person leaves the room for good: its two people do not meet for `duration` milliseconds. To the other one it looks
-- like any leaving: nobody learns that they were blocked or reported.
local function part(lobby, room, person, now, duration)
  local members = redis.call('HMGET', lobby .. ':room:' .. room, 'a', 'b')
  -- nobody there: the record is lost, and with it who the partner was
  if members[1] and members[2] then keep_apart(lobby, members[1], members[2], now, duration) end
  end_room(lobby, room, person, 'left')
end
