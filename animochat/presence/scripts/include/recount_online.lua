-- @include presence/life
-- Count the people online again: a worker's set may have expired with people in it, which changes no counter.
local function recount_online(lobby)
  local online = 0
  for _, worker in ipairs(redis.call('ZRANGE', lobby .. ':workers', 0, -1)) do
    online = online + redis.call('SCARD', lobby .. ':worker:' .. worker)
  end
  redis.call('SET', lobby .. ':online', online, 'PX', LIFE)
end
