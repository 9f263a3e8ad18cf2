-- Lift a ban. With a person's ban, lift those of the address and the device banned along with it, even if the person's
-- own ban is in another lobby.
--
-- KEYS[1]  tag of the lobby; the script touches, behind it: :bans (sorted set), :ban:<subject> (hashes), and those of
--          moderation/alert and record
-- ARGV[1]  subject: `person:<person>`, `address:<keyed hash>` or `device:<device>`
-- ARGV[2]  the address that was banned along with it in another lobby, or ''
-- ARGV[3]  the device, likewise
-- ARGV[4]  the moderator
-- ARGV[5]  time in milliseconds, or '' for the store's clock
--
-- Returns  1, or 0 if there is no such ban
-- @include presence/now
-- @include moderation/alert
-- @include moderation/record
local lobby, subject, now = KEYS[1], ARGV[1], clock(ARGV[5])
local ban = redis.call('HMGET', lobby .. ':ban:' .. subject, 'person', 'address', 'lobby', 'device')
local lifted = redis.call('ZREM', lobby .. ':bans', subject)
redis.call('DEL', lobby .. ':ban:' .. subject)
local person = ban[1] or string.match(subject, '^person:(.*)')
for _, other in ipairs({'address:' .. (ban[2] or ARGV[2]), 'device:' .. (ban[4] or ARGV[3])}) do
  -- Not if another person, banned since, has the same one.
  if person and redis.call('HGET', lobby .. ':ban:' .. other, 'person') == person then
    redis.call('ZREM', lobby .. ':bans', other)
    redis.call('DEL', lobby .. ':ban:' .. other)
  end
end
-- An address or a device is banned in every lobby: only the person's own has the alert and the log.
if lifted == 1 and ban[3] == string.match(lobby, '{lobby:(.*)}') then
  alert(lobby, now, 'ban.lifted', 'ban', subject, 'person', person or '')
  record(lobby, now, ARGV[4], 'lift', 'ban', subject, 'person', person or '')
end
return lifted
