-- Remove a connection.
--
-- KEYS[1]  tag of the lobby; the script touches, behind it: :person:<person>, :room:<room>, :past:<room> (hashes),
--          :worker:<worker> (set), :online, :clock (strings), :away, :pool, :resting, :selective, :searching, :rooms,
--          :ended, :interest:<interest> (sorted sets)
-- ARGV[1]  person
-- ARGV[2]  worker
-- ARGV[3]  connection
-- ARGV[4]  milliseconds for which the person's place is kept; '': the person left, room and search end at once
-- ARGV[5]  time in milliseconds, or '' for the store's clock
--
-- Returns  0 if the person has another connection by now (nothing was changed), else 1
-- @include presence/now
-- @include presence/count_online
-- @include presence/forget
-- @include presence/vanish
-- @include rooms/end_room
-- @include matchmaking/stop_waiting
local lobby, person = KEYS[1], ARGV[1]
local now = clock(ARGV[5])
local key = lobby .. ':person:' .. person
local record = redis.call('HMGET', key, 'conn', 'room')
if record[1] ~= ARGV[3] then return 0 end
count_online(lobby, -redis.call('SREM', lobby .. ':worker:' .. ARGV[2], person))
if ARGV[4] == '' then
  redis.call('HDEL', key, 'worker', 'conn', 'session')
  stop_waiting(lobby, person)
  if record[2] then end_room(lobby, record[2], person, 'disconnected', now) end
  forget(lobby, person)
else
  vanish(lobby, person, now, now + tonumber(ARGV[4]))
end
return 1
