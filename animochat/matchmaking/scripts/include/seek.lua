-- @include matchmaking/interests
-- @include matchmaking/search
-- @include matchmaking/match
-- @include presence/life
-- Find a partner for a waiting person (the caller has set `waiting`), or let the person wait on. A person in a cooldown
-- can't be found before it ends.
-- wait: `rest` (time at which the cooldown ends), `interests` (as in the record), `open` (time from which the person
-- meets anyone; 0 without interests), `seen` (field of the record, or false).
-- Redis seeds math.random with a constant: the caller's random `seed` makes the choice random.
-- Returns 'matched' or 'waiting', the milliseconds of cooldown left, how many people were looked at, and whether the
-- search is complete: if not, the next tick continues it.
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
  -- From now on others may find this person: anyone who shares an interest, and everyone after the interest wait. The
  -- score is the order of arrival. It is unique, unlike a time, so that an interrupted search can continue from it.
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
    -- This person's chances change only through newcomers, who search for themselves, and through an earlier match that
    -- may be repeated from some time on, or that became so during the search.
    local met = lobby .. ':met:' .. person
    local earliest = redis.call('ZRANGEBYSCORE', met, '(' .. began, '+inf', 'WITHSCORES', 'LIMIT', 0, 1)
    if earliest[2] then redis.call('ZADD', lobby .. ':searching', earliest[2], person) end
  end
  return 'waiting', 0, looked, done
end
