-- Ban an address in this lobby too: it was banned along with a person of another lobby.
--
-- KEYS[1]  tag of the lobby; the script touches, behind it: :bans (sorted set), :ban:<subject> (hash)
-- ARGV[1]  address, a keyed hash
-- ARGV[2]  person
-- ARGV[3]  that person's lobby
-- ARGV[4]  milliseconds, or '' for a permanent ban
-- ARGV[5]  the operator's note, or ''
-- ARGV[6]  the report that led to the ban, or ''
-- ARGV[7]  the moderator
-- ARGV[8]  the reason that the banned are given, or ''
-- ARGV[9]  time in milliseconds, or '' for the store's clock
--
-- Returns  1
-- @include presence/now
-- @include moderation/ban_address
local address, person, home = ARGV[1], ARGV[2], ARGV[3]
local now = clock(ARGV[9])
local until_when = ARGV[4] == '' and math.huge or now + tonumber(ARGV[4])
local fields = {
  person = person, address = address, lobby = home, by = ARGV[7], note = ARGV[5], report = ARGV[6], reason = ARGV[8],
}
ban_address(KEYS[1], address, now, until_when, fields)
return 1
