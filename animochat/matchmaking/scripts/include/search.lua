-- @include matchmaking/withdraw
-- @include presence/notify
-- @include presence/workers
-- Search for a partner: first among the people who wait for one of the seeker's interests, those who share most first;
-- then, if the seeker meets anyone, in the pool. If the seeker may meet most of them, the search draws a few at random;
-- otherwise it looks through all of them. The cost depends on the length of the seeker's history, not on the number of
-- people who wait. Everyone in these sets fits the seeker's interests.

-- PORTION: people that one script looks at. Bounds its time.
local PORTION = 100

-- DRAW: people drawn at random when the seeker may meet most of them.
local DRAW = 16

-- Return those of `people` that the seeker may meet. The seeker's own set has everyone the seeker may not meet, each
-- with the time at which that ends.
local function allowed(lobby, seeker, people, now)
  if #people == 0 or (#people == 1 and people[1] == seeker) then return {} end
  local until_when = redis.call('ZMSCORE', lobby .. ':met:' .. seeker, unpack(people))
  local result = {}
  for i, person in ipairs(people) do
    if person ~= seeker and (not until_when[i] or tonumber(until_when[i]) <= now) then result[#result + 1] = person end
  end
  return result
end

-- Return whether two devices may meet ('' or false: unknown): they are not the same, and neither blocked the other.
local function devices_may_meet(lobby, own, other, now)
  if not own or own == '' or not other or other == '' then return true end
  if own == other then return false end
  local until_when = redis.call('ZSCORE', lobby .. ':blocked:' .. own, other)
  return not until_when or tonumber(until_when) <= now
end

-- Return whether this person can be matched with a seeker of that device. A person whom no one can meet is removed from
-- the waiting sets; a person without a record is removed from `sets`, the ones just searched. A person who still waits
-- is put on `:searching`, so that the tick tries again in a second.
local function is_available(lobby, person, device, sets, now)
  local fields = {'worker', 'room', 'waiting', 'interests', 'device'}
  local record = redis.call('HMGET', lobby .. ':person:' .. person, unpack(fields))
  if record[3] and not record[2] and worker_is_alive(lobby, record[1], now) then
    return devices_may_meet(lobby, device, record[5], now)
  end
  withdraw(lobby, person, record[4])
  if record[3] then
    redis.call('ZADD', lobby .. ':searching', now + 1000, person)
  else
    for _, set in ipairs(sets) do redis.call('ZREM', set, person) end
  end
  return false
end

-- Return a random available one of `candidates`, or nil. device: the seeker's.
local function one_of(lobby, candidates, device, sets, now)
  while #candidates > 0 do
    local i = math.random(#candidates)
    if is_available(lobby, candidates[i], device, sets, now) then return candidates[i] end
    candidates[i] = candidates[#candidates]
    candidates[#candidates] = nil
  end
  return nil
end

-- Return in how many of `sets` each of `people` is.
local function count_shared(sets, people)
  local shared = {}
  for _, set in ipairs(sets) do
    for i, score in ipairs(redis.call('ZMSCORE', set, unpack(people))) do
      if score then shared[people[i]] = (shared[people[i]] or 0) + 1 end
    end
  end
  return shared
end

-- Return a random one of `people` who is allowed and available, from those who are in most of `sets`; or nil. shared:
-- in how many sets each person is, if known; else only as many people are compared as fit into one portion.
local function pick(lobby, seeker, people, sets, shared, now)
  local candidates = allowed(lobby, seeker, people, now)
  if #candidates == 0 then return nil end
  local device = redis.call('HGET', lobby .. ':person:' .. seeker, 'device')
  if #sets < 2 or #candidates < 2 then return one_of(lobby, candidates, device, sets, now) end
  if not shared then
    for i = #candidates, math.floor(PORTION / #sets) + 1, -1 do candidates[i] = nil end
    shared = count_shared(sets, candidates)
  end
  local by_number = {}
  for _, person in ipairs(candidates) do
    local number = shared[person]
    by_number[number] = by_number[number] or {}
    table.insert(by_number[number], person)
  end
  for number = #sets, 1, -1 do
    local partner = by_number[number] and one_of(lobby, by_number[number], device, sets, now)
    if partner then return partner end
  end
  return nil
end

-- Return everyone in `sets` once, and in how many sets each person is. If they are more than a portion, return a random
-- sample of each set, and nil. The third result is the total size of the sets.
local function who_shares(sets)
  local size, people, shared = 0, {}, {}
  for _, set in ipairs(sets) do size = size + redis.call('ZCARD', set) end
  if size == 0 then return people, shared, 0 end
  local some = math.ceil(PORTION / (#sets * #sets))
  for _, set in ipairs(sets) do
    local drawn = size > PORTION and redis.call('ZRANDMEMBER', set, some) or redis.call('ZRANGE', set, 0, -1)
    for _, person in ipairs(drawn) do
      if not shared[person] then people[#people + 1] = person end
      shared[person] = (shared[person] or 0) + 1
    end
  end
  return people, size <= PORTION and shared or nil, size
end

-- Continue an interrupted search for one portion. seen: a field of the seeker's record with the time at which the
-- search began, the current set and the position in it. The sets are in order of arrival; people who arrive later
-- search for themselves. Returns the values of `search`.
local function look_through(lobby, seeker, wait, now)
  local record, places = lobby .. ':person:' .. seeker, {unpack(wait.sets)}
  if wait.open <= now then places[#places + 1] = lobby .. ':pool' end
  local began, place, last = string.match(wait.seen, '^(%d+) (%d+) (.+)$')
  local left = PORTION
  place = tonumber(place)
  while places[place] and left > 0 do
    local start = last == '-inf' and last or '(' .. last
    local portion = redis.call('ZRANGEBYSCORE', places[place], start, '+inf', 'WITHSCORES', 'LIMIT', 0, left)
    local people = {}
    for i = 1, #portion, 2 do people[#people + 1] = portion[i] end
    local partner = pick(lobby, seeker, people, place <= #wait.sets and wait.sets or {}, nil, now)
    if partner then return partner, true, PORTION, began end
    if #people < left then
      place, last = place + 1, '-inf'
    else
      last = portion[#portion]
    end
    left = left - #people - 1
  end
  if not places[place] then
    redis.call('HDEL', record, 'seen')
    return nil, true, PORTION, began
  end
  redis.call('HSET', record, 'seen', began .. ' ' .. place .. ' ' .. last)
  return nil, false, PORTION, began
end

-- wait: the seeker's `sets` (of the interests), `open` (time from which the seeker meets anyone) and `seen` (field of
-- the record if a search was interrupted, else false).
-- Returns the partner or nil; whether everyone was looked at; how many people were looked at; when the search began.
local function search(lobby, seeker, wait, now)
  if wait.seen then return look_through(lobby, seeker, wait, now) end
  local pool, met, record = lobby .. ':pool', lobby .. ':met:' .. seeker, lobby .. ':person:' .. seeker
  local sharing, shared, size = who_shares(wait.sets)
  local partner = pick(lobby, seeker, sharing, wait.sets, shared, now)
  local looked = #sharing + #wait.sets
  if partner then return partner, true, looked, now end
  if size > PORTION then
    redis.call('HSET', record, 'seen', now .. ' 1 -inf')
    return nil, false, looked, now
  end
  if wait.open > now then return nil, true, looked, now end

  size = redis.call('ZCARD', pool)
  if size == 0 then return nil, true, looked, now end
  local expired = redis.call('ZRANGEBYSCORE', met, '-inf', now, 'LIMIT', 0, 100)
  if #expired > 0 then redis.call('ZREM', met, unpack(expired)) end
  local most = size > 2 * redis.call('ZCARD', met) and DRAW or math.max(DRAW, PORTION - looked)
  local people = redis.call('ZRANDMEMBER', pool, most)
  partner = pick(lobby, seeker, people, {}, nil, now)
  looked = looked + #people
  if partner or #people >= size then return partner, true, looked, now end
  redis.call('HSET', record, 'seen', now .. ' ' .. #wait.sets + 1 .. ' -inf')
  return nil, false, looked, now
end
