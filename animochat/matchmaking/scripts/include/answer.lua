-- @include rooms/room_as_seen
-- Return the reply to a search: {state, ms of cooldown left, the person's version, '<room> <reason>' of the room that
-- the partner ended last (its notice may still be on the way) or '', the room that the request left or ''}, followed by
-- the person's current room, if there is one, as room_as_seen returns it. The asking worker moves its client into the
-- room before it acknowledges; the notice on its channel has the same version and then changes nothing.
local function answer(lobby, person, state, left, room_left, now)
  local record = redis.call('HMGET', lobby .. ':person:' .. person, 'v', 'ended', 'room')
  local reply = {state, left, tonumber(record[1]), record[2] or '', room_left or ''}
  for _, value in ipairs(record[3] and room_as_seen(lobby, record[3], person, now) or {}) do
    reply[#reply + 1] = value
  end
  return reply
end
