-- @include matchmaking/seek
-- Let a person wait, and search for a partner at once. rest: time at which the person's cooldown ends. interests,
-- spelled: the person's interests as the record keeps them, or ''. insist: milliseconds of interest wait, counted from
-- the moment at which the person may be matched.
-- Returns the values of `seek`.
local function begin_waiting(lobby, person, version, rest, interests, spelled, insist, now, seed, history)
  local key, open = lobby .. ':person:' .. person, 0
  redis.call('HSET', key, 'waiting', now, 'v', version)
  if interests ~= '' then
    open = math.max(now, rest) + tonumber(insist)
    redis.call('HSET', key, 'interests', interests, 'spelled', spelled, 'open', open)
  end
  local wait = {rest = rest, interests = interests, open = open, seen = false}
  return seek(lobby, person, wait, now, seed, tonumber(history))
end
