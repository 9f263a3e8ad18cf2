-- Write to a lobby's log that an announcement is made. Its text is stored nowhere.
--
-- KEYS[1]  tag of the lobby; the script touches, behind it: :actions (stream)
-- ARGV[1]  the moderator
-- ARGV[2]  time in milliseconds, or '' for the store's clock
--
-- Returns  1
-- @include presence/now
-- @include moderation/record
record(KEYS[1], clock(ARGV[2]), ARGV[1], 'announce')
return 1
