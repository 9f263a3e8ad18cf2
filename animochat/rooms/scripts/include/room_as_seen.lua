-- Return a room as one of its members sees it: shared interests in that member's spelling (a JSON list, or ''), room,
-- slot, user id, partner's user id, partner, partner's worker or '', start in ms, ms left of the partner's grace time
-- or -1 if connected. Returns nil if the room's record is lost.
local function room_as_seen(lobby, room, person, now)
  local record = redis.call('HMGET', lobby .. ':room:' .. room, 'a', 'b', 'ua', 'ub', 'since', 'ia', 'ib')
  if not record[1] then return nil end
  local slot = record[1] == person and 'a' or 'b'
  local partner = slot == 'a' and record[2] or record[1]
  local mine, theirs = slot == 'a' and 3 or 4, slot == 'a' and 4 or 3
  local missing = redis.call('ZSCORE', lobby .. ':away', partner)
  return {
    record[mine + 3] or '', room, slot, record[mine], record[theirs], partner,
    redis.call('HGET', lobby .. ':person:' .. partner, 'worker') or '', tonumber(record[5]),
    missing and math.max(0, missing - now) or -1,
  }
end
