-- Ban a person, with or without the address, and settle all open reports on that person.
--
-- KEYS[1]  tag of the lobby; the script touches, behind it: :person:<person>, :room:<room>, :past:<room>,
--          :report:<report>, :ban:<subject> (hashes), :bans, :reports, :reported:<person>, :rooms, :ended, :pool,
--          :resting, :selective, :searching, :away, :interest:<interest> (sorted sets), :worker:<worker> (set),
--          :online, :clock (strings), and those of moderation/alert
-- ARGV[1]  person, or '' for the reported one
-- ARGV[2]  report, or ''
-- ARGV[3]  milliseconds, or '' for a permanent ban
-- ARGV[4]  the address that is banned too (a keyed hash), or ''
-- ARGV[5]  the operator's note, or ''
-- ARGV[6]  time in milliseconds, or '' for the store's clock
--
-- Returns  the person, or nil if there is no such report
-- @include presence/now
-- @include moderation/alert
-- @include moderation/ban
local lobby, person, report = KEYS[1], ARGV[1], ARGV[2]
local now = clock(ARGV[6])
if report ~= '' then
  person = redis.call('HGET', lobby .. ':report:' .. report, 'reported')
  if not person then return nil end
end
local until_when = ARGV[3] == '' and math.huge or now + tonumber(ARGV[3])
ban(lobby, person, ARGV[4], now, until_when, {by = 'operator', note = ARGV[5], report = report})
local open = lobby .. ':reported:' .. person
for _, id in ipairs(redis.call('ZRANGE', open, 0, -1)) do
  if redis.call('ZREM', lobby .. ':reports', id) > 0 then
    redis.call('HSET', lobby .. ':report:' .. id, 'state', 'banned')
  end
end
redis.call('DEL', open)
alert(
  lobby, now, 'ban.set', 'person', person, 'until', until_when < math.huge and shown(until_when) or '',
  'address', ARGV[4] ~= '' and 1 or 0, 'report', report
)
return person
