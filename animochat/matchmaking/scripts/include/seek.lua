-- @include matchmaking/search
-- @include matchmaking/match
-- Finds a partner for somebody who waits (the caller has set `waiting`), or has the person wait on. Who rests is out of
-- the pool until the rest ends. rest: when that is, in milliseconds. seen: the person's field of that name, or false.
-- Redis seeds math.random alike each time: the caller's random `seed` makes the choice a random one.
-- Returns 'matched' or 'waiting', the milliseconds of rest left, and how many people were looked at.
local function seek(lobby, person, rest, seen, now, seed, history)
  if rest > now then
    redis.call('ZADD', lobby .. ':resting', rest, person)
    return 'waiting', rest - now, 0
  end
  math.randomseed(tonumber(string.sub(redis.sha1hex(seed .. person), 1, 7), 16))
  local partner, done, looked, began = search(lobby, person, seen, now)
  if partner then
    match(lobby, person, partner, now, seed, history)
    return 'matched', 0, looked
  end
  -- Others may find this person from now on. The score is the order of arrival: unique, unlike a time, so that a look
  -- through the pool can be interrupted and taken up again.
  if not redis.call('ZSCORE', lobby .. ':pool', person) then
    redis.call('ZADD', lobby .. ':pool', redis.call('HINCRBY', lobby .. ':counters', 'arrivals', 1), person)
  end
  if not done then
    redis.call('ZADD', lobby .. ':searching', now, person)
  else
    -- The pool can't change in this person's favour but by newcomers, who look themselves, and by a meeting that
    -- becomes old enough to be repeated, or became so since the search began.
    local met = lobby .. ':met:' .. person
    local earliest = redis.call('ZRANGEBYSCORE', met, '(' .. began, '+inf', 'WITHSCORES', 'LIMIT', 0, 1)
    if earliest[2] then redis.call('ZADD', lobby .. ':searching', earliest[2], person) end
  end
  return 'waiting', 0, looked
end
