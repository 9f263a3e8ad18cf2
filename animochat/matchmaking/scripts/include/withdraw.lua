-- @include matchmaking/leave_interests
-- Remove a waiting person from every set through which others, or the tick, find that person. On return to these sets
-- the person's search starts from the beginning. interests: as in the person's record.
local function withdraw(lobby, person, interests)
  redis.call('ZREM', lobby .. ':pool', person)
  redis.call('ZREM', lobby .. ':resting', person)
  redis.call('ZREM', lobby .. ':searching', person)
  leave_interests(lobby, person, interests)
  redis.call('HDEL', lobby .. ':person:' .. person, 'seen')
end
