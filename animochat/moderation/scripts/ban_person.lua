-- Ban a person, with or without address and device, and settle all open reports on that person.
--
-- KEYS[1]  tag of the lobby; the script touches, behind it: :person:<person>, :room:<room>, :past:<room>,
--          :report:<report>, :ban:<subject> (hashes), :bans, :reports, :reported:<person>, :rooms, :ended, :pool,
--          :resting, :selective, :searching, :away, :interest:<interest> (sorted sets), :worker:<worker> (set),
--          :online, :clock (strings), and those of moderation/alert, record and resolve
-- ARGV[1]  person, or '' for the reported one
-- ARGV[2]  report, or ''
-- ARGV[3]  milliseconds, or '' for a permanent ban
-- ARGV[4]  the address that is banned too (a keyed hash), or ''
-- ARGV[5]  the device that is banned too, or ''
-- ARGV[6]  the operator's note, or ''
-- ARGV[7]  the moderator
-- ARGV[8]  the reason that the banned are given, or ''
-- ARGV[9]  time in milliseconds, or '' for the store's clock
--
-- Returns  the person, or nil if there is no such report
-- @include presence/now
-- @include moderation/alert
-- @include moderation/ban
-- @include moderation/record
-- @include moderation/resolve
local lobby, person, report = KEYS[1], ARGV[1], ARGV[2]
local by, now = ARGV[7], clock(ARGV[9])
if report ~= '' then
  person = redis.call('HGET', lobby .. ':report:' .. report, 'reported')
  if not person then return nil end
end
local until_when = ARGV[3] == '' and math.huge or now + tonumber(ARGV[3])
local fields = {
  by = by, note = ARGV[6], report = report, address = ARGV[4], device = ARGV[5], reason = ARGV[8],
}
ban(lobby, person, now, until_when, fields)
local open = lobby .. ':reported:' .. person
for _, id in ipairs(redis.call('ZRANGE', open, 0, -1)) do
  resolve(lobby, id, 'banned', now, by)
end
redis.call('DEL', open)
local ends, with_address = until_when < math.huge and shown(until_when) or '', ARGV[4] ~= '' and 1 or 0
local about = {'person', person, 'until', ends, 'address', with_address, 'report', report, 'reason', ARGV[8]}
alert(lobby, now, 'ban.set', unpack(about))
record(lobby, now, by, 'ban', unpack(about))
return person
