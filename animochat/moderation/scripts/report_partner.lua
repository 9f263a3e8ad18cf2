-- Report the partner: keep the report with its evidence, and end the room as block_partner does. If the operator has
-- switched it on, enough reports by different people within a day suspend the reported person. Different people have
-- different addresses: reports without a known address count as one.
--
-- KEYS[1]  tag of the lobby; the script touches, behind it: :person:<person>, :room:<room>, :report:<room>,
--          :ban:<subject> (hashes), :met:<person>, :rooms, :ended, :reports, :reported:<person>,
--          :reporter:<person>, :reporter-address:<keyed hash>, :bans, :pool, :resting, :searching, :away
--          (sorted sets), :worker:<worker> (set), :online (string)
-- ARGV[1]  person
-- ARGV[2]  the person's connection
-- ARGV[3]  the room of the evidence
-- ARGV[4]  reason
-- ARGV[5]  details, or ''
-- ARGV[6]  evidence, JSON
-- ARGV[7]  milliseconds for which the two do not meet again
-- ARGV[8]  milliseconds for which a report is kept
-- ARGV[9]  how many reports a person may file within an hour; 0: any number
-- ARGV[10] how many reports may be filed from one address within an hour; 0: any number
-- ARGV[11] how many reports may be open
-- ARGV[12] how many bytes of details and evidence these may have together
-- ARGV[13] reports from this many different people within a day suspend a person; 0: never
-- ARGV[14] milliseconds of that suspension
-- ARGV[15] time in milliseconds, or '' for the store's clock
--
-- Returns  {'unknown'}                  the store doesn't know this connection
--          {'not-in-room'}
--          {'limited', ms}              too many by this person, or from this address; the next one may be filed after
--                                       this time. Nothing was changed
--          {'left', version, room}      the partner's worker gets a notice that the person has left
-- @include presence/now
-- @include presence/shown
-- @include moderation/part
-- @include moderation/ban
-- @include moderation/bound_reports
local HOUR, DAY = 3600000, 24 * 3600000
local lobby, person, room, kept = KEYS[1], ARGV[1], ARGV[3], tonumber(ARGV[8])
local now = clock(ARGV[15])
local key = lobby .. ':person:' .. person
local record = redis.call('HMGET', key, 'conn', 'room', 'address')
if record[1] ~= ARGV[2] then return {'unknown'} end
local members = redis.call('HMGET', lobby .. ':room:' .. room, 'a', 'b')
if record[2] ~= room or not members[1] then return {'not-in-room'} end
local reported = members[1] == person and members[2] or members[1]

-- People with unknown addresses can't be told apart: none of them is limited by the reports of another.
local address = record[3] or ''
local filed = {{lobby .. ':reporter:' .. person, tonumber(ARGV[9])}}
if address ~= '' then filed[2] = {lobby .. ':reporter-address:' .. address, tonumber(ARGV[10])} end
local since, wait = '(' .. now - HOUR, 0
for _, by in ipairs(filed) do
  local over = redis.call('ZCOUNT', by[1], since, '+inf') - by[2]
  if by[2] > 0 and over >= 0 then
    local last = redis.call('ZRANGEBYSCORE', by[1], since, '+inf', 'WITHSCORES', 'LIMIT', over, 1)
    wait = math.max(wait, last[2] + HOUR - now)
  end
end
if wait > 0 then return {'limited', wait} end
-- A full store refuses the first write: then nothing is done. After that write, everything is.
for _, by in ipairs(filed) do
  redis.call('ZADD', by[1], now, room)
  redis.call('ZREMRANGEBYSCORE', by[1], '-inf', now - HOUR)
  redis.call('PEXPIRE', by[1], HOUR)
end

-- A room ends with its first report: the report's id is the room's.
redis.call(
  'HSET', lobby .. ':report:' .. room, 'filed', shown(now), 'reason', ARGV[4], 'details', ARGV[5], 'evidence', ARGV[6],
  'reporter', person, 'reporter_address', address, 'reported', reported, 'state', 'open',
  'bytes', #ARGV[5] + #ARGV[6],
  'address', redis.call('HGET', lobby .. ':person:' .. reported, 'address') or ''
)
redis.call('PEXPIRE', lobby .. ':report:' .. room, kept)
local open = lobby .. ':reported:' .. reported
for _, index in ipairs({lobby .. ':reports', open}) do
  redis.call('ZREMRANGEBYSCORE', index, '-inf', now - kept)
  redis.call('ZADD', index, now, room)
  redis.call('PEXPIRE', index, kept)
end
bound_reports(lobby, tonumber(ARGV[11]), tonumber(ARGV[12]))

local version = redis.call('HINCRBY', key, 'v', 1)
part(lobby, room, person, now, tonumber(ARGV[7]))

local enough = tonumber(ARGV[13])
if enough > 0 then
  -- One person may have several addresses, and one address may create any number of people.
  local people, addresses, count = {}, {}, 0
  for _, id in ipairs(redis.call('ZRANGEBYSCORE', open, '(' .. now - DAY, '+inf')) do
    local by = redis.call('HMGET', lobby .. ':report:' .. id, 'reporter', 'reporter_address')
    local from = by[2] or ''
    if by[1] and not people[by[1]] and not addresses[from] then count = count + 1 end
    if by[1] then people[by[1]], addresses[from] = true, true end
  end
  local until_when = now + tonumber(ARGV[14])
  if count >= enough and banned_until(lobby, 'person:' .. reported) < until_when then
    ban(lobby, reported, '', now, until_when, {by = 'reports', note = count .. ' people', report = room})
  end
end
return {'left', version, room}
