-- @include moderation/everybody
-- @include presence/shown
-- Return until when a subject is banned, in milliseconds; 0 if it isn't. A subject is `person:<person>`,
-- `address:<keyed hash>` or `device:<device>`.
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
    'device', fields.device, 'by', fields.by, 'note', fields.note, 'report', fields.report, 'lobby', fields.lobby,
    'reason', fields.reason)
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

-- Ban what a person comes from, `address` (a keyed hash) and `device` of `fields` ('' for none), until a time, or
-- longer if an earlier ban, for another person, lasts longer. All workers get notices. fields: as above.
local function ban_origin(lobby, now, until_when, fields)
  for _, kind in ipairs({'address', 'device'}) do
    if fields[kind] ~= '' then
      local subject = kind .. ':' .. fields[kind]
      local last = math.max(until_when, banned_until(lobby, subject))
      keep_out(lobby, subject, now, last, fields)
      local notice = {p = '', e = 'banned', ms = last < math.huge and last - now or nil, reason = reason_of(fields)}
      notice[kind] = fields[kind]
      redis.call('PUBLISH', everybody(lobby), cjson.encode({notice}))
    end
  end
end
