-- @include matchmaking/interests
-- Remove a person with these interests from all sets that are about interests.
local function leave_interests(lobby, person, interests)
  if not interests then return end
  redis.call('ZREM', lobby .. ':selective', person)
  for _, set in ipairs(interest_sets(lobby, interests)) do redis.call('ZREM', set, person) end
end
