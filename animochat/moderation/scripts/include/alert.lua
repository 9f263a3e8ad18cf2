-- @include presence/life
-- @include presence/shown
-- Alerts of a lobby that wait, at most: beyond it the oldest is lost.
local MAX_ALERTS = 10000

-- Queues an alert for the operator, where a worker sends alerts (:alerts-wanted). Touches, behind the lobby's tag,
-- :alerts (stream), :alerts-due (sorted set), :alerts-wanted (string). `...`: names and values; no message text.
local function alert(lobby, now, kind, ...)
  if redis.call('EXISTS', lobby .. ':alerts-wanted') == 0 then return end
  local stream, due = lobby .. ':alerts', lobby .. ':alerts-due'
  local id = redis.call('XADD', stream, 'MAXLEN', MAX_ALERTS, '*', 'type', kind, 'at', shown(now), ...)
  redis.call('ZADD', due, now, id)
  redis.call('PEXPIRE', stream, LIFE)
  redis.call('PEXPIRE', due, LIFE)
end
