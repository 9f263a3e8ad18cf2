-- Dismiss a report: it doesn't count against the reported person any more, and its evidence is deleted.
--
-- KEYS[1]  tag of the lobby; the script touches, behind it: :report:<room> (hash), :reports, :reported:<person>
--          (sorted sets)
-- ARGV[1]  report
--
-- Returns  1, or 0 if no such report is open
local lobby, id = KEYS[1], ARGV[1]
if redis.call('ZREM', lobby .. ':reports', id) == 0 then return 0 end
local key = lobby .. ':report:' .. id
local reported = redis.call('HGET', key, 'reported')
if not reported then return 0 end
redis.call('HSET', key, 'state', 'dismissed')
redis.call('HDEL', key, 'details', 'evidence')
redis.call('ZREM', lobby .. ':reported:' .. reported, id)
return 1
