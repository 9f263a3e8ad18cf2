-- The sets of those who wait for these interests. interests: names made by matchmaking/interests.py, divided by
-- spaces, as they stand in a person's record; false, nil or '' for none.
local function interest_sets(lobby, interests)
  local sets = {}
  for interest in string.gmatch(interests or '', '%S+') do sets[#sets + 1] = lobby .. ':interest:' .. interest end
  return sets
end
