-- Leave the room and never meet the partner again, even if the partner is away at the moment.
--
-- KEYS[1]  tag of the lobby; the script touches, behind it: :person:<person>, :room:<room> (hashes), :met:<person>,
--          :rooms, :ended (sorted sets)
-- ARGV[1]  person
-- ARGV[2]  the person's connection
-- ARGV[3]  milliseconds for which the two do not meet again
-- ARGV[4]  time in milliseconds, or '' for the store's clock
--
-- Returns  {'unknown'}                  the store doesn't know this connection
--          {'not-in-room'}
--          {'left', version, room}      the partner's worker gets a notice that the person has left
-- @include presence/now
-- @include moderation/part
local lobby, person = KEYS[1], ARGV[1]
local now = clock(ARGV[4])
local key = lobby .. ':person:' .. person
local record = redis.call('HMGET', key, 'conn', 'room')
if record[1] ~= ARGV[2] then return {'unknown'} end
if not record[2] then return {'not-in-room'} end
local version = redis.call('HINCRBY', key, 'v', 1)
part(lobby, record[2], person, now, tonumber(ARGV[3]))
return {'left', version, record[2]}
