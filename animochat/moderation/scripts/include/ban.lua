-- @include moderation/everybody
-- @include presence/count_online
-- @include presence/forget
-- @include presence/workers
-- @include rooms/end_room
-- @include matchmaking/stop_waiting
-- Until when a subject is banned, in milliseconds; 0 for one that isn't. A subject is `person:<person>` or
-- `address:<keyed hash>`.
local function banned_until(lobby, subject)
  return tonumber(redis.call('ZSCORE', lobby .. ':bans', subject) or 0)
end

-- Keeps a subject out until then; a ban that it has is replaced. fields: what the operator is shown of it.
local function keep_out(lobby, subject, now, until_when, fields)
  local bans, record = lobby .. ':bans', lobby .. ':ban:' .. subject
  redis.call('ZREMRANGEBYSCORE', bans, '-inf', now)
  redis.call('DEL', record)
  redis.call('HSET', record, 'since', now, 'person', fields.person, 'address', fields.address,
    'by', fields.by, 'note', fields.note, 'report', fields.report)
  if until_when == math.huge then
    redis.call('ZADD', bans, '+inf', subject)
  else
    redis.call('ZADD', bans, until_when, subject)
    redis.call('PEXPIRE', record, until_when - now)
  end
  local last = tonumber(redis.call('ZRANGE', bans, -1, -1, 'WITHSCORES')[2])
  if last == math.huge then
    redis.call('PERSIST', bans)
  else
    redis.call('PEXPIRE', bans, last - now + 3600000)
  end
end

-- Bans a person, and the address (a keyed hash, or '') with it, until then (milliseconds; math.huge: for good), and
-- closes whatever is connected: the person's worker hears of the one, all workers of the other.
local function ban(lobby, person, address, now, until_when, fields)
  fields.person, fields.address = person, address
  keep_out(lobby, 'person:' .. person, now, until_when, fields)
  local left = until_when < math.huge and until_when - now or nil
  local key = lobby .. ':person:' .. person
  local record = redis.call('HMGET', key, 'worker', 'conn', 'room')
  stop_waiting(lobby, person)
  redis.call('ZREM', lobby .. ':away', person)
  redis.call('HDEL', key, 'worker', 'conn', 'session')
  if record[3] then end_room(lobby, record[3], person, 'disconnected') end
  forget(lobby, person)
  if record[2] then
    count_online(lobby, -redis.call('SREM', lobby .. ':worker:' .. record[1], person))
    local notice = {p = person, e = 'banned', conn = record[2], ms = left}
    redis.call('PUBLISH', channel(lobby, record[1]), cjson.encode({notice}))
  end
  if address ~= '' then
    -- never sooner than for the sake of somebody else who came from there
    local subject = 'address:' .. address
    keep_out(lobby, subject, now, math.max(until_when, banned_until(lobby, subject)), fields)
    redis.call('PUBLISH', everybody(lobby), cjson.encode({{p = '', e = 'banned', address = address, ms = left}}))
  end
end
