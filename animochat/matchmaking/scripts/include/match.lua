-- @include matchmaking/keep_apart
-- @include presence/life
-- @include presence/notify
-- Puts two people into a new room and tells both of their workers. `seed` is random, from the caller; names made of it
-- mean nothing outside the room. `history`: milliseconds for which the two do not meet again.
local function match(lobby, a, b, now, seed, history)
  local name = redis.sha1hex(seed .. a .. b .. redis.call('HINCRBY', lobby .. ':counters', 'matches', 1))
  local room = string.sub(name, 1, 16)
  local user = {[a] = 'u' .. string.sub(name, 17, 28), [b] = 'u' .. string.sub(name, 29, 40)}
  redis.call('HSET', lobby .. ':room:' .. room, 'a', a, 'b', b, 'ua', user[a], 'ub', user[b], 'since', now)
  redis.call('PEXPIRE', lobby .. ':room:' .. room, LIFE)
  redis.call('ZADD', lobby .. ':rooms', now, room)
  redis.call('ZREM', lobby .. ':pool', a, b)
  redis.call('ZREM', lobby .. ':searching', a, b)
  keep_apart(lobby, a, b, now, history)
  local worker, events = {}, {}
  for person, partner in pairs({[a] = b, [b] = a}) do
    local key = lobby .. ':person:' .. person
    local record = redis.call('HMGET', key, 'worker', 'v')
    local version = tonumber(record[2] or 0) + 1
    redis.call('HDEL', key, 'waiting', 'seen')
    redis.call('HSET', key, 'room', room, 'v', version)
    worker[person] = record[1] or ''
    events[#events + 1] = {
      p = person, e = 'matched', v = version, room = room, slot = person == a and 'a' or 'b', user = user[person],
      partner = user[partner], mate = partner, since = now,
    }
  end
  for _, event in ipairs(events) do event.worker = worker[event.mate] end
  notify(lobby, events, worker)
end
