-- @include presence/life
-- Counts anew how many people are online, where a worker's set may have expired with people in it: nobody said so.
local function recount_online(lobby)
  local online = 0
  for _, worker in ipairs(redis.call('ZRANGE', lobby .. ':workers', 0, -1)) do
    online = online + redis.call('SCARD', lobby .. ':worker:' .. worker)
  end
  redis.call('SET', lobby .. ':online', online, 'PX', LIFE)
end
