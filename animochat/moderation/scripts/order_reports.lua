-- The order of reports: of open ones threat and underage first, then the oldest; of resolved ones the latest first.
--
-- KEYS[1]  tag of the lobby; the script touches, behind it: :reports, :resolved (sorted sets), :report:<report>
--          (hashes)
-- ARGV[1]  'open' or 'resolved'
-- ARGV[2]  reason, or '' for all
--
-- Returns  {id, rank, …}, as ranked_reports has them
-- @include moderation/ranked_reports
local result = {}
for _, report in ipairs(ranked_reports(KEYS[1], ARGV[1], ARGV[2])) do
  result[#result + 1] = report[1]
  result[#result + 1] = report[2]
end
return result
