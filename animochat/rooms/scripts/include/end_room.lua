-- @include presence/life
-- @include presence/notify
-- Ends a room for both. The one who left (false: nobody in particular) knows already, the other is told the reason.
-- The room's log may be in another slot: workers close it, by the agenda `:ended` (take_ended.lua, close_rooms.lua).
local function end_room(lobby, room, leaver, reason)
  local record = lobby .. ':room:' .. room
  local members = redis.call('HMGET', record, 'a', 'b')
  local events = {}
  if leaver and not members[1] then members = {leaver} end -- the record is lost: nobody may be stuck in the room
  for _, person in ipairs(members) do
    if person then
      local key = lobby .. ':person:' .. person
      if redis.call('HGET', key, 'room') == room then
        redis.call('HDEL', key, 'room')
        if person ~= leaver then
          -- Whoever is away just now hears of it when it is back.
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
