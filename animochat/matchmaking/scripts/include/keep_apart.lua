-- Two people do not meet before `now + duration` (milliseconds), whoever searches; never sooner than was said before.
-- Written in both directions, so that everybody whom a seeker may not meet stands in the seeker's own set.
local function keep_apart(lobby, a, b, now, duration)
  for person, other in pairs({[a] = b, [b] = a}) do
    local met = lobby .. ':met:' .. person
    redis.call('ZADD', met, 'GT', now + duration, other)
    local last = redis.call('ZRANGE', met, -1, -1, 'WITHSCORES')[2]
    redis.call('PEXPIRE', met, tonumber(last) - now + 3600000)
  end
end
