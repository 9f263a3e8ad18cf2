-- @include moderation/ban_address
-- @include presence/count_online
-- @include presence/forget
-- @include presence/workers
-- @include rooms/end_room
-- @include matchmaking/stop_waiting
-- Ban a person, and the address with it (a keyed hash, or ''), until a time in milliseconds (math.huge: permanently).
-- Notices close the connections: one to the person's worker, and for the address one to all workers.
local function ban(lobby, person, address, now, until_when, fields)
  fields.person, fields.address, fields.lobby = person, address, string.match(lobby, '{lobby:(.*)}')
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
  if address ~= '' then ban_address(lobby, address, now, until_when, fields) end
end
