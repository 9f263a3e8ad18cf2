-- Leave the room without a new search.
--
-- KEYS[1]  tag of the lobby; the script touches, behind it: :person:<person>, :room:<room>, :past:<room> (hashes),
--          :rooms, :ended (sorted sets), :clock (string)
-- ARGV[1]  person
-- ARGV[2]  the person's connection
-- ARGV[3]  time in milliseconds, or '' for the store's clock
--
-- Returns  {'unknown'}                  the store doesn't know this connection
--          {'not-in-room'}
--          {'left', version, room}      the partner's worker gets a notice
-- @include presence/now
-- @include rooms/end_room
local lobby, person = KEYS[1], ARGV[1]
local key = lobby .. ':person:' .. person
local record = redis.call('HMGET', key, 'conn', 'room')
if record[1] ~= ARGV[2] then return {'unknown'} end
if not record[2] then return {'not-in-room'} end
local version = redis.call('HINCRBY', key, 'v', 1)
end_room(lobby, record[2], person, 'left', clock(ARGV[3]))
return {'left', version, record[2]}
