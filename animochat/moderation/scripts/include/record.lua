-- @include presence/shown
-- Actions that the log of a lobby has, at most: beyond it the oldest is lost.
local MAX_ACTIONS = 100000

-- Append an action to the lobby's log, :actions (stream), which nothing else changes. by: the moderator. `...`: names
-- and values.
local function record(lobby, now, by, what, ...)
  redis.call('XADD', lobby .. ':actions', 'MAXLEN', MAX_ACTIONS, '*', 'at', shown(now), 'by', by, 'what', what, ...)
end
