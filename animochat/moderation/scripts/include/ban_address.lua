-- @include moderation/everybody
-- @include presence/shown
-- Return until when a subject is banned, in milliseconds; 0 if it isn't. A subject is `person:<person>` or
-- `address:<keyed hash>`.
local function banned_until(lobby, subject)
  return tonumber(redis.call('ZSCORE', lobby .. ':bans', subject) or 0)
end

-- The reason that the banned are given, or nil for none.
local function reason_of(fields) return fields.reason ~= '' and fields.reason or nil end

-- Ban a subject until a time, and replace its earlier ban. fields: shown to the operator (`lobby`: the person's).
local function keep_out(lobby, subject, now, until_when, fields)
  local bans, record = lobby .. ':bans', lobby .. ':ban:' .. subject
  redis.call('ZREMRANGEBYSCORE', bans, '-inf', now)
  redis.call('DEL', record)
  redis.call('HSET', record, 'since', shown(now), 'person', fields.person, 'address', fields.address,
    'by', fields.by, 'note', fields.note, 'report', fields.report, 'lobby', fields.lobby, 'reason', fields.reason)
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

-- Ban an address (a keyed hash) until a time, or longer if an earlier ban of it, for another person, lasts longer. All
-- workers get a notice. fields: as above.
local function ban_address(lobby, address, now, until_when, fields)
  local subject = 'address:' .. address
  until_when = math.max(until_when, banned_until(lobby, subject))
  keep_out(lobby, subject, now, until_when, fields)
  local left = until_when < math.huge and until_when - now or nil
  local notice = {p = '', e = 'banned', address = address, ms = left, reason = reason_of(fields)}
  redis.call('PUBLISH', everybody(lobby), cjson.encode({notice}))
end
