-- Return the keys of the sets of people who wait for these interests. interests: names from matchmaking/interests.py,
-- divided by spaces, as in a person's record; false, nil or '' for none.
local function interest_sets(lobby, interests)
  local sets = {}
  for interest in string.gmatch(interests or '', '%S+') do sets[#sets + 1] = lobby .. ':interest:' .. interest end
  return sets
end
