-- @include presence/life
-- @include presence/notify
-- End a room for both members. The one who left (false: neither) knows it; the other gets a notice with the reason.
-- In a cluster the room's log is in another slot: workers close it from the agenda `:ended` (take_ended.lua,
-- close_rooms.lua).
local function end_room(lobby, room, leaver, reason)
  local record = lobby .. ':room:' .. room
  local members = redis.call('HMGET', record, 'a', 'b')
  local events = {}
  if leaver and not members[1] then members = {leaver} end -- the record is lost: let the leaver out
  for _, person in ipairs(members) do
    if person then
      local key = lobby .. ':person:' .. person
      if redis.call('HGET', key, 'room') == room then
        redis.call('HDEL', key, 'room')
        if person ~= leaver then
          -- A person who is away gets this after reconnecting.
          redis.call('HSET', key, 'ended', room .. ' ' .. reason)
          events[#events + 1] = {p = person, e = 'ended', room = room, reason = reason}
        end
      end
    end
  end
  redis.call('DEL', record)
  redis.call('ZREM', lobby .. ':rooms', room)
  redis.call('ZADD', lobby .. ':ended', 0, room)
  redis.call('PEXPIRE', lobby .. ':ended', LIFE)
  notify(lobby, events)
end
