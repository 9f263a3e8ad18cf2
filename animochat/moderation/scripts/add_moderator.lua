-- Add a moderator.
--
-- KEYS[1]  tag of the lobby; the script touches, behind it: :moderators (hash), :actions (stream)
-- ARGV[1]  name
-- ARGV[2]  digest of the token
-- ARGV[3]  who adds the moderator
-- ARGV[4]  how many moderators there may be
-- ARGV[5]  time in milliseconds, or '' for the store's clock
--
-- Returns  'added', 'taken' if there is a moderator of that name, or 'full'
-- @include presence/now
-- @include moderation/record
local moderators, now = KEYS[1] .. ':moderators', clock(ARGV[5])
for _, value in ipairs(redis.call('HVALS', moderators)) do
  if string.match(value, '^%S+') == ARGV[1] then return 'taken' end
end
if redis.call('HLEN', moderators) >= tonumber(ARGV[4]) then return 'full' end
redis.call('HSET', moderators, ARGV[2], ARGV[1] .. ' ' .. string.format('%.0f', shown(now)))
record(KEYS[1], now, ARGV[3], 'add-moderator', 'name', ARGV[1])
return 'added'
