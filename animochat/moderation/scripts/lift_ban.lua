-- The operator lifts a ban. With a person's goes the one of the address that came with it.
--
-- KEYS[1]  tag of the lobby; the script touches, behind it: :bans (sorted set), :ban:<subject> (hashes)
-- ARGV[1]  subject: `person:<person>` or `address:<keyed hash>`
--
-- Returns  1, or 0 where there is no such ban
local lobby, subject = KEYS[1], ARGV[1]
local lifted = redis.call('ZREM', lobby .. ':bans', subject)
local record = redis.call('HMGET', lobby .. ':ban:' .. subject, 'person', 'address')
local address = 'address:' .. (record[2] or '')
redis.call('DEL', lobby .. ':ban:' .. subject)
-- Unless somebody else who was banned since has the same address.
if record[1] and redis.call('HGET', lobby .. ':ban:' .. address, 'person') == record[1] then
  redis.call('ZREM', lobby .. ':bans', address)
  redis.call('DEL', lobby .. ':ban:' .. address)
end
return lifted
