-- Keep two people of a room apart, even if the partner is away or has left. End the room if it still exists.
--
-- KEYS[1]  tag of the lobby; the script touches, behind it: :person:<person>, :room:<room>, :past:<room> (hashes),
--          :met:<person>, :blocked:<device>, :rooms, :ended (sorted sets), :clock (string)
-- ARGV[1]  person
-- ARGV[2]  the person's connection
-- ARGV[3]  the present or past room of both; '' for the person's present one
-- ARGV[4]  milliseconds for which the two do not meet again
-- ARGV[5]  milliseconds after its end for which a room may be named
-- ARGV[6]  time in milliseconds, or '' for the store's clock
--
-- Returns  {'unknown'}                  the store doesn't know this connection
--          {'not-in-room'}              the person was not in a room of that name lately, either. Nothing was changed
--          {'left', version, room, device, the partner's device}
--                                       the partner's worker gets a notice that the person has left. Devices are '' if
--                                       unknown
--          {'past', 0, '', device, the partner's device}
--                                       the room had ended before
-- @include presence/now
-- @include moderation/partner
local lobby, person = KEYS[1], ARGV[1]
local now = clock(ARGV[6])
local record = redis.call('HMGET', lobby .. ':person:' .. person, 'conn', 'room', 'device')
if record[1] ~= ARGV[2] then return {'unknown'} end
local room = ARGV[3] ~= '' and ARGV[3] or record[2]
if not room then return {'not-in-room'} end
local present = room == record[2]
local partner = partner_of(lobby, room, person, present, now, tonumber(ARGV[5]))
if not partner and not present then return {'not-in-room'} end
return block(lobby, room, person, record[3] or '', partner, present, now, tonumber(ARGV[4]))
