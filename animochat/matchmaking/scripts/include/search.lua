-- @include matchmaking/withdraw
-- @include presence/notify
-- @include presence/workers
-- Looks for a partner: first among those who wait for an interest of the seeker's, the most shared first, then, for a
-- seeker who meets anyone, in the pool. A draw while most of those who wait are allowed, a look through all of them
-- where the seeker has met so many that a draw would miss. Either costs what the seeker's own history costs, never what
-- the number of people who wait does. Nobody stands in these sets whom the seeker's interests forbid to meet.

-- PORTION: how many people one look takes in; bounds the time of one script.
local PORTION = 100

-- DRAW: how many are drawn where most are allowed.
local DRAW = 16

-- Whom of `people` may the seeker meet? Everybody the seeker may not meet stands in the seeker's own set, with the
-- time until which that holds.
local function allowed(lobby, seeker, people, now)
  if #people == 0 or (#people == 1 and people[1] == seeker) then return {} end
  local until_when = redis.call('ZMSCORE', lobby .. ':met:' .. seeker, unpack(people))
  local result = {}
  for i, person in ipairs(people) do
    if person ~= seeker and (not until_when[i] or tonumber(until_when[i]) <= now) then result[#result + 1] = person end
  end
  return result
end

-- Is this person really there to be matched? Who is not leaves the sets of those who wait (of somebody without a record
-- any more: the ones looked through, `sets`); somebody whose worker is only out of hearing for a moment is looked at
-- again by the tick.
local function is_available(lobby, person, sets, now)
  local record = redis.call('HMGET', lobby .. ':person:' .. person, 'worker', 'room', 'waiting', 'interests')
  if record[3] and not record[2] and worker_is_alive(lobby, record[1], now) then return true end
  withdraw(lobby, person, record[4])
  if record[3] then
    redis.call('ZADD', lobby .. ':searching', now + 1000, person)
  else
    for _, set in ipairs(sets) do redis.call('ZREM', set, person) end
  end
  return false
end

-- One of `candidates` at random who is there, or nil.
local function one_of(lobby, candidates, sets, now)
  while #candidates > 0 do
    local i = math.random(#candidates)
    if is_available(lobby, candidates[i], sets, now) then return candidates[i] end
    candidates[i] = candidates[#candidates]
    candidates[#candidates] = nil
  end
  return nil
end

-- In how many of `sets` is each of `people`?
local function count_shared(sets, people)
  local shared = {}
  for _, set in ipairs(sets) do
    for i, score in ipairs(redis.call('ZMSCORE', set, unpack(people))) do
      if score then shared[people[i]] = (shared[people[i]] or 0) + 1 end
    end
  end
  return shared
end

-- One of `people` at random who may be met and is there, or nil: of those who are in most of `sets`. shared: in how
-- many each is, where that is known; else as many are compared as can be without taking longer than a portion does.
local function pick(lobby, seeker, people, sets, shared, now)
  local candidates = allowed(lobby, seeker, people, now)
  if #sets < 2 or #candidates < 2 then return one_of(lobby, candidates, sets, now) end
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
    local partner = by_number[number] and one_of(lobby, by_number[number], sets, now)
    if partner then return partner end
  end
  return nil
end

-- Everybody in `sets`, each once, and in how many each is; or, where these are more than a portion, some of each set at
-- random and nil. The third result says how many there are, the same person counted in each set.
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

-- Goes on with an interrupted search, as far as one portion reaches. seen: the field of the seeker's record, which says
-- when the search began, which set it is in and how far it has come: the sets are kept in order of arrival, and who
-- comes later looks for a partner itself. Returns what `search` returns.
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

-- wait: of the seeker, `sets` (those of the interests), `open` (time from which the seeker meets anyone), `seen` (field
-- of the record, or false: an interrupted search goes on).
-- Returns partner or nil; whether everybody was looked at; how many people this look took in; when the search began.
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
