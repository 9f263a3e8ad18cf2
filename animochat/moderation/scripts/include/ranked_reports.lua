-- Reasons that come first, however late they were filed.
local GRAVE = {threat = true, underage = true}
-- Subtracted from their rank: more than any time, and exact in Lua's numbers.
local AHEAD = 1e14

-- Return the open reports of one reason, or of all (''): a list of {id, rank}, the lowest rank first, which is the time
-- of filing.
local function ranked_reports(lobby, reason)
  local reports, grave, others = lobby .. ':reports', {}, {}
  local open = redis.call('ZRANGE', reports, 0, -1, 'WITHSCORES')
  for i = 1, #open, 2 do
    local why = redis.call('HGET', lobby .. ':report:' .. open[i], 'reason')
    if not why then
      redis.call('ZREM', reports, open[i])
    elseif reason == '' or reason == why then
      local list = GRAVE[why] and grave or others
      list[#list + 1] = {open[i], open[i + 1] - (GRAVE[why] and AHEAD or 0)}
    end
  end
  for _, report in ipairs(others) do grave[#grave + 1] = report end
  return grave
end
