-- Do what is due: cooldowns and interest waits that have ended, searches to start or continue, people whose grace time
-- is over. Every worker calls this at short intervals; it does nothing when nothing is due.
--
-- KEYS[1]  tag of the lobby; the script touches what find_match touches, and behind it :away, :ended (sorted sets),
--          :past:<room> (hash), :ticked, :clock (strings)
-- ARGV[1]  seed, a random string
-- ARGV[2]  milliseconds for which two people who were matched do not meet again
-- ARGV[3]  milliseconds: do nothing if everything due was done less than this time ago; 0: always look
-- ARGV[4]  time in milliseconds, or '' for the store's clock
--
-- Returns  1 if more is due than one script should do (run it again), else 0
-- @include presence/now
-- @include presence/forget
-- @include rooms/end_room
-- @include matchmaking/seek
-- @include matchmaking/stop_waiting
local lobby, seed, history = KEYS[1], ARGV[1], tonumber(ARGV[2])
local now = clock(ARGV[4])
local since = now - tonumber(redis.call('GET', lobby .. ':ticked') or 0)
-- A clock that is held shows the time of the last tick for as long as no tick saves it.
if not clock_held and since >= 0 and since < tonumber(ARGV[3]) then return 0 end
-- Save the lobby's clock (presence/now). A full store refuses this: then time stands still for the people who wait.
redis.pcall('SET', lobby .. ':clock', string.format('%.0f %.0f', now, clock_ahead), 'PX', LIFE)

-- BUDGET: people looked at, after which a script starts with no further person. A script handles one portion of a large
-- pool and little more, or a few people with less to look at. Handling a person costs about as much as looking at
-- PERSON people, a match as much as looking at MATCH.
local BUDGET, PERSON, MATCH = 50, 5, 45
local spent, unfinished = 0, false

local function due(set) return redis.call('ZRANGEBYSCORE', lobby .. set, '-inf', now, 'LIMIT', 0, BUDGET / PERSON) end

for _, person in ipairs(due(':away')) do
  redis.call('ZREM', lobby .. ':away', person)
  local record = redis.call('HMGET', lobby .. ':person:' .. person, 'conn', 'room')
  if not record[1] then
    stop_waiting(lobby, person)
    if record[2] then end_room(lobby, record[2], person, 'disconnected', now) end
    forget(lobby, person)
  end
  spent = spent + PERSON
end

for _, set in ipairs({':resting', ':selective', ':searching'}) do
  for _, person in ipairs(due(set)) do
    if spent >= BUDGET then return 1 end
    spent = spent + PERSON
    redis.call('ZREM', lobby .. set, person)
    local fields = {'worker', 'room', 'waiting', 'seen', 'interests', 'open'}
    local record = redis.call('HMGET', lobby .. ':person:' .. person, unpack(fields))
    if record[2] or not record[3] then
      stop_waiting(lobby, person)
    elseif worker_is_alive(lobby, record[1], now) then
      local wait = {rest = 0, seen = record[4], interests = record[5], open = tonumber(record[6] or 0)}
      local state, _, looked, done = seek(lobby, person, wait, now, seed, history)
      spent = spent + looked + (state == 'matched' and MATCH or 0)
      unfinished = unfinished or not done
    else
      -- A person without a worker is not matched. The worker may be back in a moment; else the reaper removes it.
      withdraw(lobby, person, record[5])
      redis.call('ZADD', lobby .. ':searching', now + 1000, person)
    end
  end
end
if spent >= BUDGET or unfinished then return 1 end
-- A full store refuses this: then every worker does what is due.
redis.pcall('SET', lobby .. ':ticked', now, 'PX', LIFE)
return 0
