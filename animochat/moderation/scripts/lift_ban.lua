-- Lift a ban. With a person's ban, lift that of the address banned along with it, even if the person's own ban is in
-- another lobby.
--
-- KEYS[1]  tag of the lobby; the script touches, behind it: :bans (sorted set), :ban:<subject> (hashes), and those of
--          moderation/alert and record
-- ARGV[1]  subject: `person:<person>` or `address:<keyed hash>`
-- ARGV[2]  the address that was banned along with it in another lobby, or ''
-- ARGV[3]  the moderator
-- ARGV[4]  time in milliseconds, or '' for the store's clock
--
-- Returns  1, or 0 if there is no such ban
-- @include presence/now
-- @include moderation/alert
-- @include moderation/record
local lobby, subject, now = KEYS[1], ARGV[1], clock(ARGV[4])
local ban = redis.call('HMGET', lobby .. ':ban:' .. subject, 'person', 'address', 'lobby')
local lifted = redis.call('ZREM', lobby .. ':bans', subject)
redis.call('DEL', lobby .. ':ban:' .. subject)
local address = 'address:' .. (ban[2] or ARGV[2])
local person = ban[1] or string.match(subject, '^person:(.*)')
-- Not if another person, banned since, has the same address.
if person and redis.call('HGET', lobby .. ':ban:' .. address, 'person') == person then
  redis.call('ZREM', lobby .. ':bans', address)
  redis.call('DEL', lobby .. ':ban:' .. address)
end
-- An address is banned in every lobby: only the person's own has the alert and the log.
if lifted == 1 and ban[3] == string.match(lobby, '{lobby:(.*)}') then
  alert(lobby, now, 'ban.lifted', 'ban', subject, 'person', person or '')
  record(lobby, now, ARGV[3], 'lift', 'ban', subject, 'person', person or '')
end
return lifted
