-- @include matchmaking/leave_interests
-- Takes somebody who waits out of every set by which others, or the tick, could find that person. Whoever comes back
-- into them looks at everybody anew. interests: as in the person's record.
local function withdraw(lobby, person, interests)
  redis.call('ZREM', lobby .. ':pool', person)
  redis.call('ZREM', lobby .. ':resting', person)
  redis.call('ZREM', lobby .. ':searching', person)
  leave_interests(lobby, person, interests)
  redis.call('HDEL', lobby .. ':person:' .. person, 'seen')
end
