-- @include presence/notify
-- @include presence/workers
-- Looks for a partner: a draw while most of the pool is allowed, a look through the pool where the seeker has met so
-- many that a draw would miss. Either costs what the seeker's own history costs, never what the pool's size costs.

-- PORTION: how many people one look takes in; bounds the time of one script.
local PORTION = 100

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

-- Is this person really there to be matched? Who is not leaves the pool; somebody whose worker is only out of hearing
-- for a moment is looked at again by the tick.
local function is_available(lobby, person, now)
  local record = redis.call('HMGET', lobby .. ':person:' .. person, 'worker', 'room', 'waiting')
  if record[3] and not record[2] and worker_is_alive(lobby, record[1], now) then return true end
  redis.call('ZREM', lobby .. ':pool', person)
  if record[3] then redis.call('ZADD', lobby .. ':searching', now + 1000, person) end
  return false
end

-- One of `people` at random who may be met and is there, or nil.
local function pick(lobby, seeker, people, now)
  local candidates = allowed(lobby, seeker, people, now)
  while #candidates > 0 do
    local i = math.random(#candidates)
    if is_available(lobby, candidates[i], now) then return candidates[i] end
    candidates[i] = candidates[#candidates]
    candidates[#candidates] = nil
  end
  return nil
end

-- Returns partner or nil; whether everybody was looked at; how many people this look took in; when the search began.
-- Where one look is not enough, `seen` in the seeker's record says when the search began and how far it has come: the
-- pool is kept in order of arrival, and who comes later looks for a partner itself. seen: that field, or false.
local function search(lobby, seeker, seen, now)
  local pool, met, record = lobby .. ':pool', lobby .. ':met:' .. seeker, lobby .. ':person:' .. seeker
  if not seen then
    local size = redis.call('ZCARD', pool)
    if size == 0 then return nil, true, 0, now end
    local expired = redis.call('ZRANGEBYSCORE', met, '-inf', now, 'LIMIT', 0, 100)
    if #expired > 0 then redis.call('ZREM', met, unpack(expired)) end
    local draw = size > 2 * redis.call('ZCARD', met) and 16 or PORTION
    local people = redis.call('ZRANDMEMBER', pool, draw)
    local partner = pick(lobby, seeker, people, now)
    if partner or #people >= size then return partner, true, #people, now end
    redis.call('HSET', record, 'seen', now .. ' -inf')
    return nil, false, #people, now
  end

  local began, last = string.match(seen, '^(%d+) (.+)$')
  local start = last == '-inf' and last or '(' .. last
  local portion = redis.call('ZRANGEBYSCORE', pool, start, '+inf', 'WITHSCORES', 'LIMIT', 0, PORTION)
  local people = {}
  for i = 1, #portion, 2 do people[#people + 1] = portion[i] end
  local partner = pick(lobby, seeker, people, now)
  local done = partner ~= nil or #people < PORTION
  if done then
    redis.call('HDEL', record, 'seen')
  else
    redis.call('HSET', record, 'seen', began .. ' ' .. portion[#portion])
  end
  return partner, done, #people, began
end
