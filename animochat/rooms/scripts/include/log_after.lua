-- Return a room's messages for one member: {seq, slot, timestamp in ms, body, …} after seq `after`; the partner's last
-- seq, if it is kept; the highest seq of the partner's that the store is known to have lost, or 0.
local function log_after(room, slot, after)
  local entries, partner = {}, slot == 'a' and 'b' or 'a'
  for _, entry in ipairs(redis.call('XRANGE', room .. ':log', '(' .. after .. '-0', '+')) do
    local seq = string.match(entry[1], '^%d+')
    for _, value in ipairs({seq, entry[2][2], entry[2][4], entry[2][6]}) do entries[#entries + 1] = value end
  end
  local known = redis.call('HMGET', room .. ':meta', 'last:' .. partner, 'lost:' .. partner)
  return entries, tonumber(known[1] or 0), tonumber(known[2] or 0)
end
