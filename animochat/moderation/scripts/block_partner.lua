-- Keep two people of a room apart, even if the partner is away or has left. End the room if it still exists.
--
-- KEYS[1]  tag of the lobby; the script touches, behind it: :person:<person>, :room:<room>, :past:<room> (hashes),
--          :met:<person>, :rooms, :ended (sorted sets), :clock (string)
-- ARGV[1]  person
-- ARGV[2]  the person's connection
-- ARGV[3]  the present or past room of both; '' for the person's present one
-- ARGV[4]  milliseconds for which the two do not meet again
-- ARGV[5]  milliseconds after its end for which a room may be named
-- ARGV[6]  time in milliseconds, or '' for the store's clock
--
-- Returns  {'unknown'}                  the store doesn't know this connection
--          {'not-in-room'}              the person was not in a room of that name lately, either. Nothing was changed
--          {'left', version, room}      the partner's worker gets a notice that the person has left
--          {'past'}                     the room had ended before
-- @include presence/now
-- @include matchmaking/keep_apart
-- @include moderation/part
-- @include moderation/past_partner
local lobby, person = KEYS[1], ARGV[1]
local now = clock(ARGV[6])
local key = lobby .. ':person:' .. person
local record = redis.call('HMGET', key, 'conn', 'room')
if record[1] ~= ARGV[2] then return {'unknown'} end
local room = ARGV[3] ~= '' and ARGV[3] or record[2]
if room and room == record[2] then
  local version = redis.call('HINCRBY', key, 'v', 1)
  part(lobby, room, person, now, tonumber(ARGV[4]))
  return {'left', version, room}
end
local partner = room and past_partner(lobby, room, person, now, tonumber(ARGV[5]))
if not partner then return {'not-in-room'} end
keep_apart(lobby, person, partner, now, tonumber(ARGV[4]))
return {'past'}
