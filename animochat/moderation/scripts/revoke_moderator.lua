-- Revoke a moderator's token. The moderator's sessions name the token's digest, and end with it.
--
-- KEYS[1]  tag of the lobby; the script touches, behind it: :moderators (hash), :actions (stream)
-- ARGV[1]  name
-- ARGV[2]  who revokes it
-- ARGV[3]  time in milliseconds, or '' for the store's clock
--
-- Returns  1, or 0 if there is no moderator of that name
-- @include presence/now
-- @include moderation/record
local moderators, now = KEYS[1] .. ':moderators', clock(ARGV[3])
local all = redis.call('HGETALL', moderators)
for i = 1, #all, 2 do
  if string.match(all[i + 1], '^%S+') == ARGV[1] then
    redis.call('HDEL', moderators, all[i])
    record(KEYS[1], now, ARGV[2], 'revoke-moderator', 'name', ARGV[1])
    return 1
  end
end
return 0
