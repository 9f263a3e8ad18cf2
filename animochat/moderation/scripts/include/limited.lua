-- Return how many ms a person has to wait before another report, 0 for none. filed: a list of {key, limit}: the sorted
-- sets of reports by the person and from the address, each with its limit per hour (0: any number).
local HOUR = 3600000
local function limited(filed, now)
  local since, wait = '(' .. now - HOUR, 0
  for _, by in ipairs(filed) do
    local over = redis.call('ZCOUNT', by[1], since, '+inf') - by[2]
    if by[2] > 0 and over >= 0 then
      local last = redis.call('ZRANGEBYSCORE', by[1], since, '+inf', 'WITHSCORES', 'LIMIT', over, 1)
      wait = math.max(wait, last[2] + HOUR - now)
    end
  end
  return wait
end
