-- @include matchmaking/keep_apart
-- @include rooms/end_room
-- Return the partner of a person as {person, address (a keyed hash), device}, '' for what is unknown; nil if the store
-- does not know a partner. present: the person is in that room; else it must have ended less than `window` ms ago, and
-- address and device are those of that time.
local function partner_of(lobby, room, person, present, now, window)
  if present then
    local members = redis.call('HMGET', lobby .. ':room:' .. room, 'a', 'b')
    local partner = members[1] == person and members[2] or members[1]
    if not partner then return nil end -- the room's record is lost
    local record = redis.call('HMGET', lobby .. ':person:' .. partner, 'address', 'device')
    return {person = partner, address = record[1] or '', device = record[2] or ''}
  end
  local fields = {'a', 'b', 'ended', 'address:a', 'address:b', 'device:a', 'device:b'}
  local past = redis.call('HMGET', lobby .. ':past:' .. room, unpack(fields))
  if not past[3] or now - past[3] >= window then return nil end
  local slot = past[1] == person and 2 or past[2] == person and 1
  if not slot then return nil end
  return {person = past[slot], address = past[3 + slot] or '', device = past[5 + slot] or ''}
end

-- Keep a person and the partner apart for `duration` milliseconds, and their devices ('' if unknown). End the room if
-- the person is in it: the partner sees the same as when someone leaves, and can't tell that a block or a report was
-- the reason. partner: from partner_of. Returns the reply of block_partner.lua.
local function block(lobby, room, person, device, partner, present, now, duration)
  local reply = {'past', 0, ''}
  if present then reply = {'left', redis.call('HINCRBY', lobby .. ':person:' .. person, 'v', 1), room} end
  if partner then
    keep_apart(lobby .. ':met:', person, partner.person, now, duration)
    if device ~= '' and partner.device ~= '' and device ~= partner.device then
      keep_apart(lobby .. ':blocked:', device, partner.device, now, duration)
    end
  end
  if present then end_room(lobby, room, person, 'left', now) end
  reply[4], reply[5] = device, partner and partner.device or ''
  return reply
end
