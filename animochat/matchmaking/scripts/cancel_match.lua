-- A person no longer wants a partner.
--
-- KEYS[1]  tag of the lobby; the script touches, behind it: :person:<person> (hash), :pool, :resting, :selective,
--          :searching, :interest:<interest> (sorted sets)
-- ARGV[1]  person
-- ARGV[2]  the person's connection
--
-- Returns  {'unknown'}               the store doesn't know this connection
--          {'in-room'}               too late: there is a partner already
--          {'cancelled', version}    not waiting any more, or wasn't at all
-- @include matchmaking/stop_waiting
local lobby, person = KEYS[1], ARGV[1]
local record = redis.call('HMGET', lobby .. ':person:' .. person, 'conn', 'room')
if record[1] ~= ARGV[2] then return {'unknown'} end
if record[2] then return {'in-room'} end
stop_waiting(lobby, person)
return {'cancelled', redis.call('HINCRBY', lobby .. ':person:' .. person, 'v', 1)}
