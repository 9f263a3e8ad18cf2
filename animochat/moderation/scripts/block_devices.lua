-- Keep two devices apart in this lobby too: a person blocked or reported another one in another lobby.
--
-- KEYS[1]  tag of the lobby; the script touches, behind it: :blocked:<device> (sorted set), :clock (string)
-- ARGV[1]  device
-- ARGV[2]  the other device
-- ARGV[3]  milliseconds for which their people do not meet
-- ARGV[4]  time in milliseconds, or '' for the store's clock
--
-- Returns  1
-- @include presence/now
-- @include matchmaking/keep_apart
keep_apart(KEYS[1] .. ':blocked:', ARGV[1], ARGV[2], clock(ARGV[4]), tonumber(ARGV[3]))
return 1
