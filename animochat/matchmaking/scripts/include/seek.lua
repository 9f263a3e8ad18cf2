-- @include matchmaking/interests
-- @include matchmaking/search
-- @include matchmaking/match
-- @include presence/life
-- Finds a partner for somebody who waits (the caller has set `waiting`), or has the person wait on. Who rests can't be
-- found until the rest ends.
-- wait: `rest` (when that is), `interests` (as in the record), `open` (time from which the person meets anyone; 0 for
-- somebody who named no interests), `seen` (field of the record, or false).
-- Redis seeds math.random alike each time: the caller's random `seed` makes the choice a random one.
-- Returns 'matched' or 'waiting', the milliseconds of rest left, how many people were looked at, and whether the search
-- is through: else the next tick goes on with it.
local function seek(lobby, person, wait, now, seed, history)
  if wait.rest > now then
    redis.call('ZADD', lobby .. ':resting', wait.rest, person)
    return 'waiting', wait.rest - now, 0, true
  end
  math.randomseed(tonumber(string.sub(redis.sha1hex(seed .. person), 1, 7), 16))
  wait.sets = interest_sets(lobby, wait.interests)
  local partner, done, looked, began = search(lobby, person, wait, now)
  if partner then
    match(lobby, person, partner, now, seed, history)
    return 'matched', 0, looked, true
  end
  -- Others may find this person from now on: whoever shares an interest, and anyone once the wait for one is over. The
  -- score is the order of arrival: unique, unlike a time, so that a look through a set can be interrupted and taken up
  -- again.
  local function arrival() return redis.call('HINCRBY', lobby .. ':counters', 'arrivals', 1) end
  if wait.sets[1] and not wait.seen then
    local number = arrival()
    for _, set in ipairs(wait.sets) do
      redis.call('ZADD', set, 'NX', number, person)
      redis.call('PEXPIRE', set, LIFE)
    end
  end
  if wait.open > now then
    redis.call('ZADD', lobby .. ':selective', wait.open, person)
  elseif not redis.call('ZSCORE', lobby .. ':pool', person) then
    redis.call('ZADD', lobby .. ':pool', arrival(), person)
  end
  if not done then
    redis.call('ZADD', lobby .. ':searching', now, person)
  else
    -- The sets can't change in this person's favour but by newcomers, who look themselves, and by a meeting that
    -- becomes old enough to be repeated, or became so since the search began.
    local met = lobby .. ':met:' .. person
    local earliest = redis.call('ZRANGEBYSCORE', met, '(' .. began, '+inf', 'WITHSCORES', 'LIMIT', 0, 1)
    if earliest[2] then redis.call('ZADD', lobby .. ':searching', earliest[2], person) end
  end
  return 'waiting', 0, looked, done
end
