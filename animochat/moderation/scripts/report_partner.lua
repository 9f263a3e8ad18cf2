-- Report the partner: keep the report with its evidence, then do the same as block_partner, also for a while after the
-- room has ended. If the operator has switched it on, enough reports by different people within a day suspend the
-- reported person. Different people have different addresses: reports without a known address count as one.
--
-- KEYS[1]  tag of the lobby; the script touches, behind it: :person:<person>, :room:<room>, :past:<room>,
--          :report:<report>, :ban:<subject> (hashes), :met:<person>, :blocked:<device>, :rooms, :ended, :reports,
--          :reported:<person>,
--          :reporter:<person>, :reporter-address:<keyed hash>, :bans, :pool, :resting, :selective, :searching, :away,
--          :interest:<interest> (sorted sets), :worker:<worker> (set), :online, :clock (strings)
--          and those of moderation/alert
-- ARGV[1]  person
-- ARGV[2]  the person's connection
-- ARGV[3]  the room that the report and the evidence are about
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
-- ARGV[15] milliseconds after its end for which a room may be reported
-- ARGV[16] time in milliseconds, or '' for the store's clock
--
-- Returns  {'unknown'}                  the store doesn't know this connection
--          {'not-in-room'}              the person was not in that room lately, either. Nothing was changed
--          {'limited', ms}              too many by this person, or from this address; the next one may be filed after
--                                       this time. Nothing was changed
--          as block_partner.lua, else. If the person has already reported this room, no second report is stored
-- @include presence/now
-- @include presence/shown
-- @include moderation/alert
-- @include moderation/ban
-- @include moderation/bound_reports
-- @include moderation/limited
-- @include moderation/partner
local DAY = 24 * HOUR
local lobby, person, room, kept = KEYS[1], ARGV[1], ARGV[3], tonumber(ARGV[8])
local now = clock(ARGV[16])
local record = redis.call('HMGET', lobby .. ':person:' .. person, 'conn', 'room', 'address', 'device')
if record[1] ~= ARGV[2] then return {'unknown'} end
local present = record[2] == room
local partner = partner_of(lobby, room, person, present, now, tonumber(ARGV[15]))
if not partner then return {'not-in-room'} end
local reported = partner.person
local function leave()
  return block(lobby, room, person, record[4] or '', partner, present, now, tonumber(ARGV[7]))
end

-- The first report on a room has the room's name; the partner may file one too.
local id = room
local filed_by = redis.call('HGET', lobby .. ':report:' .. id, 'reporter')
if filed_by and filed_by ~= person then
  id = room .. '-2'
  filed_by = redis.call('HGET', lobby .. ':report:' .. id, 'reporter')
end
if filed_by then return leave() end

-- People with unknown addresses can't be told apart: none of them is limited by the reports of another.
local address = record[3] or ''
local filed = {{lobby .. ':reporter:' .. person, tonumber(ARGV[9])}}
if address ~= '' then filed[2] = {lobby .. ':reporter-address:' .. address, tonumber(ARGV[10])} end
local wait = limited(filed, now)
if wait > 0 then return {'limited', wait} end
-- A full store refuses the first write: then nothing is done. After that write, everything is.
for _, by in ipairs(filed) do
  redis.call('ZADD', by[1], now, id)
  redis.call('ZREMRANGEBYSCORE', by[1], '-inf', now - HOUR)
  redis.call('PEXPIRE', by[1], HOUR)
end

redis.call(
  'HSET', lobby .. ':report:' .. id, 'filed', shown(now), 'reason', ARGV[4], 'details', ARGV[5], 'evidence', ARGV[6],
  'reporter', person, 'reporter_address', address, 'reported', reported, 'state', 'open',
  'bytes', #ARGV[5] + #ARGV[6], 'address', partner.address, 'device', partner.device
)
redis.call('PEXPIRE', lobby .. ':report:' .. id, kept)
local open = lobby .. ':reported:' .. reported
for _, index in ipairs({lobby .. ':reports', open}) do
  redis.call('ZREMRANGEBYSCORE', index, '-inf', now - kept)
  redis.call('ZADD', index, now, id)
  redis.call('PEXPIRE', index, kept)
end
bound_reports(lobby, tonumber(ARGV[11]), tonumber(ARGV[12]))
alert(lobby, now, 'report.filed', 'report', id, 'reason', ARGV[4], 'reporter', person, 'reported', reported)

local reply = leave()

local enough = tonumber(ARGV[13])
if enough > 0 then
  -- One person may have several addresses, and one address may create any number of people.
  local people, addresses, count = {}, {}, 0
  for _, report in ipairs(redis.call('ZRANGEBYSCORE', open, '(' .. now - DAY, '+inf')) do
    local by = redis.call('HMGET', lobby .. ':report:' .. report, 'reporter', 'reporter_address')
    local from = by[2] or ''
    if by[1] and not people[by[1]] and not addresses[from] then count = count + 1 end
    if by[1] then people[by[1]], addresses[from] = true, true end
  end
  local until_when = now + tonumber(ARGV[14])
  if count >= enough and banned_until(lobby, 'person:' .. reported) < until_when then
    local fields = {
      by = 'reports', note = count .. ' people', report = id, address = '', device = partner.device, reason = '',
    }
    ban(lobby, reported, now, until_when, fields)
    local ends = shown(until_when)
    alert(lobby, now, 'person.suspended', 'person', reported, 'until', ends, 'report', id, 'reports', count)
  end
end
return reply
