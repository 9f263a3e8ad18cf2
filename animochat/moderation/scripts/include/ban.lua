-- @include moderation/ban_origin
-- @include presence/count_online
-- @include presence/forget
-- @include presence/workers
-- @include rooms/end_room
-- @include matchmaking/stop_waiting
-- Ban a person, with the `address` (a keyed hash) and the `device` in `fields` ('' for none), until a time in
-- milliseconds (math.huge: permanently). Notices close the connections: one to the person's worker, and for address and
-- device one to all workers.
local function ban(lobby, person, now, until_when, fields)
  fields.person, fields.lobby = person, string.match(lobby, '{lobby:(.*)}')
  keep_out(lobby, 'person:' .. person, now, until_when, fields)
  local left = until_when < math.huge and until_when - now or nil
  local key = lobby .. ':person:' .. person
  local record = redis.call('HMGET', key, 'worker', 'conn', 'room')
  stop_waiting(lobby, person)
  redis.call('ZREM', lobby .. ':away', person)
  redis.call('HDEL', key, 'worker', 'conn', 'session')
  if record[3] then end_room(lobby, record[3], person, 'disconnected', now) end
  forget(lobby, person)
  if record[2] then
    count_online(lobby, -redis.call('SREM', lobby .. ':worker:' .. record[1], person))
    local notice = {p = person, e = 'banned', conn = record[2], ms = left, reason = reason_of(fields)}
    redis.call('PUBLISH', channel(lobby, record[1]), cjson.encode({notice}))
  end
  ban_origin(lobby, now, until_when, fields)
end
