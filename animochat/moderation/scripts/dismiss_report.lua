-- Dismiss a report: it doesn't count against the reported person any more, and its evidence is deleted.
--
-- KEYS[1]  tag of the lobby; the script touches, behind it: :report:<report> (hash), :reports, :resolved,
--          :reported:<person> (sorted sets), :actions (stream)
-- ARGV[1]  report
-- ARGV[2]  the moderator
-- ARGV[3]  time in milliseconds, or '' for the store's clock
--
-- Returns  1, or 0 if no such report is open
-- @include presence/now
-- @include moderation/record
-- @include moderation/resolve
local lobby, id, by, now = KEYS[1], ARGV[1], ARGV[2], clock(ARGV[3])
local reported = resolve(lobby, id, 'dismissed', now, by)
if not reported then return 0 end
redis.call('HDEL', lobby .. ':report:' .. id, 'details', 'evidence')
redis.call('ZREM', lobby .. ':reported:' .. reported, id)
record(lobby, now, by, 'dismiss', 'report', id, 'person', reported)
return 1
