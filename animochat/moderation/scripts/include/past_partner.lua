-- Return a person's partner in a room that ended less than `window` ms ago, and the partner's address at that time (a
-- keyed hash, or ''); nil if the person was not in it, if it ended earlier, or if the store does not know the room.
local function past_partner(lobby, room, person, now, window)
  local past = redis.call('HMGET', lobby .. ':past:' .. room, 'a', 'b', 'ended', 'address:a', 'address:b')
  if not past[3] or now - past[3] >= window then return nil end
  if past[1] == person then return past[2], past[5] or '' end
  if past[2] == person then return past[1], past[4] or '' end
  return nil
end
