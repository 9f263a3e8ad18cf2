-- @include matchmaking/withdraw
-- @include presence/forget
-- @include presence/notify
-- Mark a person as away whose connection is closed or lost. Room and search last for the grace time; the partner gets a
-- notice.
-- deadline: when the grace time ends, in milliseconds.
local function vanish(lobby, person, now, deadline)
  local key = lobby .. ':person:' .. person
  redis.call('HDEL', key, 'worker', 'conn')
  redis.call('HSET', key, 'kept', deadline)
  local record = redis.call('HMGET', key, 'room', 'waiting', 'interests')
  if record[2] then withdraw(lobby, person, record[3]) end
  if record[1] or record[2] then
    redis.call('ZADD', lobby .. ':away', deadline, person)
  else
    forget(lobby, person)
  end
  if record[1] then
    local room = redis.call('HMGET', lobby .. ':room:' .. record[1], 'a', 'b')
    local partner = room[1] == person and room[2] or room[1]
    if partner then
      notify(lobby, {{p = partner, e = 'reconnecting', room = record[1], graceMs = math.max(0, deadline - now)}})
    end
  end
end
