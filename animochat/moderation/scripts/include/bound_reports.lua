-- Remove open reports until at most `most` of them, with at most `most_bytes`, are left: each time the oldest of the
-- address that has the most. So no address can push out the reports of another one that has fewer, and an address that
-- floods pushes out its own. Reports without a known address count as one address's.
local function bound_reports(lobby, most, most_bytes)
  local index = lobby .. ':reports'
  local open, reports, bytes, total = {}, {}, {}, 0
  for _, id in ipairs(redis.call('ZRANGE', index, 0, -1)) do
    local record = redis.call('HMGET', lobby .. ':report:' .. id, 'reporter_address', 'bytes', 'reported')
    local report = {id = id, address = record[1] or '', bytes = tonumber(record[2] or 0), reported = record[3] or ''}
    open[#open + 1] = report
    reports[report.address] = (reports[report.address] or 0) + 1
    bytes[report.address] = (bytes[report.address] or 0) + report.bytes
    total = total + report.bytes
  end
  while #open > most or total > most_bytes do
    local share, chosen = #open > most and reports or bytes, 1
    for i, report in ipairs(open) do
      if share[report.address] > share[open[chosen].address] then chosen = i end
    end
    local report = table.remove(open, chosen)
    reports[report.address] = reports[report.address] - 1
    bytes[report.address] = bytes[report.address] - report.bytes
    total = total - report.bytes
    redis.call('ZREM', index, report.id)
    redis.call('ZREM', lobby .. ':reported:' .. report.reported, report.id)
    redis.call('DEL', lobby .. ':report:' .. report.id)
  end
end
