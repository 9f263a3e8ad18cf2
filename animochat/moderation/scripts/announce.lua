-- Publish notices that are for everyone to all workers of a lobby.
--
-- KEYS[1]  tag of the lobby; the script touches no key
-- ARGV[1]  the notices, a JSON list
--
-- Returns  how many workers received it
-- @include moderation/everybody
return redis.call('PUBLISH', everybody(KEYS[1]), ARGV[1])
