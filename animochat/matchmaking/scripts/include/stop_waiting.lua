-- @include matchmaking/withdraw
-- Takes a person out of everything that has to do with waiting. True if the person was waiting.
local function stop_waiting(lobby, person)
  local key = lobby .. ':person:' .. person
  withdraw(lobby, person, redis.call('HGET', key, 'interests'))
  return redis.call('HDEL', key, 'waiting', 'interests', 'spelled', 'open') > 0
end
