-- Lift a ban. With a person's ban, lift that of the address banned along with it, even if the person's own ban is in
-- another lobby.
--
-- KEYS[1]  tag of the lobby; the script touches, behind it: :bans (sorted set), :ban:<subject> (hashes)
-- ARGV[1]  subject: `person:<person>` or `address:<keyed hash>`
-- ARGV[2]  the address that was banned along with it in another lobby, or ''
--
-- Returns  1, or 0 if there is no such ban
local lobby, subject = KEYS[1], ARGV[1]
local record = redis.call('HMGET', lobby .. ':ban:' .. subject, 'person', 'address')
local lifted = redis.call('ZREM', lobby .. ':bans', subject)
redis.call('DEL', lobby .. ':ban:' .. subject)
local address = 'address:' .. (record[2] or ARGV[2])
local person = record[1] or string.match(subject, '^person:(.*)')
-- Not if another person, banned since, has the same address.
if person and redis.call('HGET', lobby .. ':ban:' .. address, 'person') == person then
  redis.call('ZREM', lobby .. ':bans', address)
  redis.call('DEL', lobby .. ':ban:' .. address)
end
return lifted
