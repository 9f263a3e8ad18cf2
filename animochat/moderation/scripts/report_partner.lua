-- A person reports the partner: the report is kept with its evidence, and the room ends as by block_partner. Enough
-- reports by different people within a day suspend somebody, where the operator wants that.
--
-- KEYS[1]  tag of the lobby; the script touches, behind it: :person:<person>, :room:<room>, :report:<room>,
--          :ban:<subject> (hashes), :met:<person>, :rooms, :reports, :reported:<person>, :reporter:<person>, :bans,
--          :pool, :resting, :searching, :away (sorted sets), :worker:<worker> (set), :online (string)
-- ARGV[1]  person
-- ARGV[2]  the person's connection
-- ARGV[3]  the room that the evidence is of
-- ARGV[4]  reason
-- ARGV[5]  details, or ''
-- ARGV[6]  evidence, JSON
-- ARGV[7]  milliseconds for which the two do not meet again
-- ARGV[8]  milliseconds for which a report is kept
-- ARGV[9]  how many reports a person may file within an hour; 0: any number
-- ARGV[10] how many different people's reports within a day suspend somebody; 0: never
-- ARGV[11] milliseconds of that suspension
-- ARGV[12] time in milliseconds, or '' for the store's clock
--
-- Returns  {'unknown'}                  the store doesn't know this connection
--          {'not-in-room'}
--          {'limited', ms}              too many: the next one may be filed after so long. Nothing was changed
--          {'left', version, room}      the partner's worker hears that the person has left
-- @include presence/now
-- @include moderation/part
-- @include moderation/ban
local HOUR, DAY = 3600000, 24 * 3600000
local lobby, person, room, kept = KEYS[1], ARGV[1], ARGV[3], tonumber(ARGV[8])
local now = clock(ARGV[12])
local key = lobby .. ':person:' .. person
local record = redis.call('HMGET', key, 'conn', 'room')
if record[1] ~= ARGV[2] then return {'unknown'} end
local members = redis.call('HMGET', lobby .. ':room:' .. room, 'a', 'b')
if record[2] ~= room or not members[1] then return {'not-in-room'} end
local reported = members[1] == person and members[2] or members[1]

local filed, limit = lobby .. ':reporter:' .. person, tonumber(ARGV[9])
local since = '(' .. now - HOUR
if limit > 0 and redis.call('ZCOUNT', filed, since, '+inf') >= limit then
  return {'limited', redis.call('ZRANGEBYSCORE', filed, since, '+inf', 'WITHSCORES', 'LIMIT', 0, 1)[2] + HOUR - now}
end
-- The first write is one that a full store refuses: then nothing is done. After it, everything is.
redis.call('ZADD', filed, now, room)
redis.call('ZREMRANGEBYSCORE', filed, '-inf', now - HOUR)
redis.call('PEXPIRE', filed, HOUR)

-- A room ends with its first report: the room's name is the report's as well.
redis.call(
  'HSET', lobby .. ':report:' .. room, 'filed', now, 'reason', ARGV[4], 'details', ARGV[5], 'evidence', ARGV[6],
  'reporter', person, 'reported', reported, 'state', 'open',
  'address', redis.call('HGET', lobby .. ':person:' .. reported, 'address') or ''
)
redis.call('PEXPIRE', lobby .. ':report:' .. room, kept)
local open = lobby .. ':reported:' .. reported
for _, index in ipairs({lobby .. ':reports', open}) do
  redis.call('ZREMRANGEBYSCORE', index, '-inf', now - kept)
  redis.call('ZADD', index, now, room)
  redis.call('PEXPIRE', index, kept)
end

local version = redis.call('HINCRBY', key, 'v', 1)
part(lobby, room, person, now, tonumber(ARGV[7]))

local enough = tonumber(ARGV[10])
if enough > 0 then
  local reporters, count = {}, 0
  for _, id in ipairs(redis.call('ZRANGEBYSCORE', open, '(' .. now - DAY, '+inf')) do
    local reporter = redis.call('HGET', lobby .. ':report:' .. id, 'reporter')
    if reporter and not reporters[reporter] then
      reporters[reporter] = true
      count = count + 1
    end
  end
  local until_when = now + tonumber(ARGV[11])
  if count >= enough and banned_until(lobby, 'person:' .. reported) < until_when then
    ban(lobby, reported, '', now, until_when, {by = 'reports', note = count .. ' people', report = room})
  end
end
return {'left', version, room}
