-- @include rooms/room_as_seen
-- The answer to a search: {state, ms of rest left, the person's version, '<room> <reason>' of the room that the partner
-- ended last (for a worker that hasn't heard of it yet) or '', the room that the request left or ''}, and behind it the
-- room that the person is in, as room_as_seen has it, where there is one. So the worker that asked can bring its client
-- into the room before it answers; the notice on its channel has the same version and changes nothing then.
local function answer(lobby, person, state, left, room_left, now)
  local record = redis.call('HMGET', lobby .. ':person:' .. person, 'v', 'ended', 'room')
  local reply = {state, left, tonumber(record[1]), record[2] or '', room_left or ''}
  for _, value in ipairs(record[3] and room_as_seen(lobby, record[3], person, now) or {}) do
    reply[#reply + 1] = value
  end
  return reply
end
