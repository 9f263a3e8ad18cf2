-- @include matchmaking/interests
-- Takes somebody with these interests out of all sets that have to do with them.
local function leave_interests(lobby, person, interests)
  if not interests then return end
  redis.call('ZREM', lobby .. ':selective', person)
  for _, set in ipairs(interest_sets(lobby, interests)) do redis.call('ZREM', set, person) end
end
