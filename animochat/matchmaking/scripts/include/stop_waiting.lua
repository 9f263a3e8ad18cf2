-- @include matchmaking/withdraw
-- Remove a person from everything about waiting. Returns true if the person was waiting.
local function stop_waiting(lobby, person)
  local key = lobby .. ':person:' .. person
  withdraw(lobby, person, redis.call('HGET', key, 'interests'))
  return redis.call('HDEL', key, 'waiting', 'interests', 'spelled', 'open') > 0
end
