-- Takes a person out of everything that has to do with waiting. True if the person was waiting.
local function stop_waiting(lobby, person)
  redis.call('ZREM', lobby .. ':pool', person)
  redis.call('ZREM', lobby .. ':resting', person)
  redis.call('ZREM', lobby .. ':searching', person)
  return redis.call('HDEL', lobby .. ':person:' .. person, 'waiting', 'seen') > 0
end
