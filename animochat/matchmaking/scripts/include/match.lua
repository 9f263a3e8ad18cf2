-- @include matchmaking/keep_apart
-- @include matchmaking/leave_interests
-- @include presence/life
-- @include presence/notify
-- @include presence/shown
-- Return the interests that one person shares with another, in that person's spelling. Both arguments are lists of
-- worker, version, interests and spelled, as in the records.
local function interests_in_common(mine, theirs)
  local result, wanted, place = {}, {}, 0
  if not mine[3] or not theirs[3] then return result end
  for interest in string.gmatch(theirs[3], '%S+') do wanted[interest] = true end
  local spelled = cjson.decode(mine[4])
  for interest in string.gmatch(mine[3], '%S+') do
    place = place + 1
    if wanted[interest] then result[#result + 1] = spelled[place] end
  end
  return result
end

-- Put two people into a new room and notify both workers. `seed` is a random string from the caller; the names made
-- from it mean nothing outside the room. `history`: milliseconds for which the two do not meet again.
local function match(lobby, a, b, now, seed, history)
  local name = redis.sha1hex(seed .. a .. b .. redis.call('HINCRBY', lobby .. ':counters', 'matches', 1))
  local room = string.sub(name, 1, 16)
  local user = {[a] = 'u' .. string.sub(name, 17, 28), [b] = 'u' .. string.sub(name, 29, 40)}
  local record, shared = {}, {}
  for _, person in ipairs({a, b}) do
    record[person] = redis.call('HMGET', lobby .. ':person:' .. person, 'worker', 'v', 'interests', 'spelled')
  end
  shared[a] = interests_in_common(record[a], record[b])
  shared[b] = interests_in_common(record[b], record[a])
  local since = shown(now)
  redis.call('HSET', lobby .. ':room:' .. room, 'a', a, 'b', b, 'ua', user[a], 'ub', user[b], 'since', since)
  if #shared[a] > 0 then
    redis.call('HSET', lobby .. ':room:' .. room, 'ia', cjson.encode(shared[a]), 'ib', cjson.encode(shared[b]))
  end
  redis.call('PEXPIRE', lobby .. ':room:' .. room, LIFE)
  redis.call('ZADD', lobby .. ':rooms', now, room)
  redis.call('ZREM', lobby .. ':pool', a, b)
  redis.call('ZREM', lobby .. ':searching', a, b)
  keep_apart(lobby .. ':met:', a, b, now, history)
  local worker, events = {}, {}
  for person, partner in pairs({[a] = b, [b] = a}) do
    local key = lobby .. ':person:' .. person
    local version = tonumber(record[person][2] or 0) + 1
    leave_interests(lobby, person, record[person][3])
    redis.call('HDEL', key, 'waiting', 'seen', 'interests', 'spelled', 'open')
    redis.call('HSET', key, 'room', room, 'v', version)
    worker[person] = record[person][1] or ''
    events[#events + 1] = {
      p = person, e = 'matched', v = version, room = room, slot = person == a and 'a' or 'b', user = user[person],
      partner = user[partner], mate = partner, since = since, interests = #shared[person] > 0 and shared[person] or nil,
    }
  end
  for _, event in ipairs(events) do event.worker = worker[event.mate] end
  notify(lobby, events, worker)
end
