-- @include matchmaking/keep_apart
-- @include rooms/end_room
-- End a room for a person who blocks or reports: its two people do not meet for `duration` milliseconds. The partner
-- sees the same as when someone leaves, and can't tell that a block or a report was the reason.
local function part(lobby, room, person, now, duration)
  local members = redis.call('HMGET', lobby .. ':room:' .. room, 'a', 'b')
  -- Without members the room's record is lost, and the partner unknown.
  if members[1] and members[2] then keep_apart(lobby, members[1], members[2], now, duration) end
  end_room(lobby, room, person, 'left', now)
end
