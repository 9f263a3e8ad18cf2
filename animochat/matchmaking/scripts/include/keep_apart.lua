-- Keep two people from meeting before `now + duration` (milliseconds), or longer if an earlier call asked for longer.
-- Used for the match history (match.lua), and for blocks and reports (moderation).
-- Each person's set names the other, so that a search needs only the seeker's own set.
local function keep_apart(lobby, a, b, now, duration)
  for person, other in pairs({[a] = b, [b] = a}) do
    local met = lobby .. ':met:' .. person
    redis.call('ZADD', met, 'GT', now + duration, other)
    local last = redis.call('ZRANGE', met, -1, -1, 'WITHSCORES')[2]
    redis.call('PEXPIRE', met, tonumber(last) - now + 3600000)
  end
end
