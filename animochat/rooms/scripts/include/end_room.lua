-- @include presence/life
-- @include presence/notify
-- @include presence/shown
-- PAST_LIFE: milliseconds for which the members of an ended room are remembered, unless a worker shortens it to the
-- time for which the room may be reported (take_ended.lua). No setting allows more (REPORT_WINDOW_MINUTES).
local PAST_LIFE = 3600000

-- End a room for both members. The one who left (false: neither) knows it; the other gets a notice with the reason.
-- Remember the members for later reports and blocks, and the room in each member's record.
-- In a cluster the room's log is in another slot: workers close it from the agenda `:ended` (take_ended.lua,
-- close_rooms.lua).
local function end_room(lobby, room, leaver, reason, now)
  local record, past = lobby .. ':room:' .. room, lobby .. ':past:' .. room
  local members = redis.call('HMGET', record, 'a', 'b')
  local events = {}
  if members[1] and members[2] then
    redis.call('HSET', past, 'a', members[1], 'b', members[2], 'ended', now)
    redis.call('PEXPIRE', past, PAST_LIFE)
  end
  if leaver and not members[1] then members = {leaver} end -- the record is lost: let the leaver out
  for i, person in ipairs(members) do
    if person then
      local key = lobby .. ':person:' .. person
      local known, slot = redis.call('HMGET', key, 'room', 'address', 'device'), i == 1 and 'a' or 'b'
      if #members == 2 and (known[2] or known[3]) then
        redis.call('HSET', past, 'address:' .. slot, known[2] or '', 'device:' .. slot, known[3] or '')
      end
      if known[1] == room then
        redis.call('HDEL', key, 'room')
        redis.call('HSET', key, 'last', room .. ' ' .. shown(now))
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
