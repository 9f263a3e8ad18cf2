-- @include matchmaking/seek
-- A person begins to wait, and is searched for at once. rest: until when the person rests. interests, spelled: what the
-- person named, as the record keeps it, or ''. insist: milliseconds for which only people who share one will do,
-- counted from the moment at which the person may be matched at all.
-- Returns what `seek` returns.
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
