-- @include presence/shown
-- Milliseconds for which a report is kept, and how many that are resolved are listed.
local REPORT_LIFE, MAX_RESOLVED = 30 * 24 * 3600000, 1000

-- Take a report off the list of open ones. Return the reported person; nil if no such report is open.
local function resolve(lobby, id, state, now, by)
  local key, resolved = lobby .. ':report:' .. id, lobby .. ':resolved'
  if redis.call('ZREM', lobby .. ':reports', id) == 0 then return nil end
  local reported = redis.call('HGET', key, 'reported')
  if not reported then return nil end
  redis.call('HSET', key, 'state', state, 'resolved', shown(now), 'by', by)
  redis.call('ZADD', resolved, now, id)
  redis.call('ZREMRANGEBYRANK', resolved, 0, -MAX_RESOLVED - 1)
  redis.call('PEXPIRE', resolved, REPORT_LIFE)
  return reported
end
