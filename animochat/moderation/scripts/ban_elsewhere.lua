-- Ban an address and a device in this lobby too: they were banned along with a person of another lobby.
--
-- KEYS[1]  tag of the lobby; the script touches, behind it: :bans (sorted set), :ban:<subject> (hash), :clock (string)
-- ARGV[1]  address, a keyed hash, or ''
-- ARGV[2]  device, or ''
-- ARGV[3]  person
-- ARGV[4]  that person's lobby
-- ARGV[5]  milliseconds, or '' for a permanent ban
-- ARGV[6]  the operator's note, or ''
-- ARGV[7]  the report that led to the ban, or ''
-- ARGV[8]  the moderator
-- ARGV[9]  the reason that the banned are given, or ''
-- ARGV[10] time in milliseconds, or '' for the store's clock
--
-- Returns  1
-- @include presence/now
-- @include moderation/ban_origin
local now = clock(ARGV[10])
local until_when = ARGV[5] == '' and math.huge or now + tonumber(ARGV[5])
local fields = {
  person = ARGV[3], address = ARGV[1], device = ARGV[2], lobby = ARGV[4], by = ARGV[8], note = ARGV[6],
  report = ARGV[7], reason = ARGV[9],
}
ban_origin(KEYS[1], now, until_when, fields)
return 1
