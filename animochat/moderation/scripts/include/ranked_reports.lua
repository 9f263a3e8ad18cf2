-- Reasons that come first, however late they were filed.
local GRAVE = {threat = true, underage = true}
-- Subtracted from their rank: more than any time, and exact in Lua's numbers.
local AHEAD = 1e14

-- Return reports of one reason, or of all (''): a list of {id, rank}, the lowest rank first. state: 'open' (grave ones
-- first, then the oldest) or 'resolved' (the latest first).
local function ranked_reports(lobby, state, reason)
  local open = state == 'open'
  local index, grave, others = lobby .. (open and ':reports' or ':resolved'), {}, {}
  local listed = redis.call(open and 'ZRANGE' or 'ZREVRANGE', index, 0, -1, 'WITHSCORES')
  for i = 1, #listed, 2 do
    local id, time = listed[i], tonumber(listed[i + 1])
    local why = redis.call('HGET', lobby .. ':report:' .. id, 'reason')
    if not why then
      redis.call('ZREM', index, id)
    elseif reason == '' or reason == why then
      if not open then
        others[#others + 1] = {id, -time}
      elseif GRAVE[why] then
        grave[#grave + 1] = {id, time - AHEAD}
      else
        others[#others + 1] = {id, time}
      end
    end
  end
  for _, report in ipairs(others) do grave[#grave + 1] = report end
  return grave
end
