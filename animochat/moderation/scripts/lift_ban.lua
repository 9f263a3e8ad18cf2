-- The operator lifts a ban. With a person's goes the one of the address that came with it, also where the person's own
-- is in another lobby.
--
-- KEYS[1]  tag of the lobby; the script touches, behind it: :bans (sorted set), :ban:<subject> (hashes)
-- ARGV[1]  subject: `person:<person>` or `address:<keyed hash>`
-- ARGV[2]  the address that came with it in another lobby, or ''
--
-- Returns  1, or 0 where there is no such ban
local lobby, subject = KEYS[1], ARGV[1]
local record = redis.call('HMGET', lobby .. ':ban:' .. subject, 'person', 'address')
local lifted = redis.call('ZREM', lobby .. ':bans', subject)
redis.call('DEL', lobby .. ':ban:' .. subject)
local address = 'address:' .. (record[2] or ARGV[2])
local person = record[1] or string.match(subject, '^person:(.*)')
-- Unless somebody else who was banned since has the same address.
if person and redis.call('HGET', lobby .. ':ban:' .. address, 'person') == person then
  redis.call('ZREM', lobby .. ':bans', address)
  redis.call('DEL', lobby .. ':ban:' .. address)
end
return lifted
