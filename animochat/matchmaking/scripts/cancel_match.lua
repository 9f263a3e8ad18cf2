-- Cancel a person's search.
--
-- KEYS[1]  tag of the lobby; the script touches, behind it: :person:<person> (hash), :pool, :resting, :selective,
--          :searching, :away, :interest:<interest> (sorted sets), :room:<room> (hash)
-- ARGV[1]  person
-- ARGV[2]  the person's connection
-- ARGV[3]  time in milliseconds, or '' for the store's clock
--
-- Returns  {'unknown'}    the store doesn't know this connection
--          otherwise the reply of include/answer.lua, with the state
--          'in-room'      too late: the person is in a room already
--          'cancelled'    the person doesn't wait any more, or did not wait
-- @include presence/now
-- @include matchmaking/answer
-- @include matchmaking/stop_waiting
local lobby, person = KEYS[1], ARGV[1]
local record = redis.call('HMGET', lobby .. ':person:' .. person, 'conn', 'room')
if record[1] ~= ARGV[2] then return {'unknown'} end
local now = clock(ARGV[3])
if record[2] then return answer(lobby, person, 'in-room', 0, '', now) end
stop_waiting(lobby, person)
redis.call('HINCRBY', lobby .. ':person:' .. person, 'v', 1)
return answer(lobby, person, 'cancelled', 0, '', now)
