-- Keep two people or two devices from meeting before `now + duration` (milliseconds), or longer if an earlier call
-- asked for longer. Used for the match history (match.lua), and for blocks and reports (moderation).
-- Each one's set names the other, so that a search needs only the seeker's own sets.
-- sets: the beginning of their names, with the lobby's tag.
local function keep_apart(sets, a, b, now, duration)
  for one, other in pairs({[a] = b, [b] = a}) do
    local met = sets .. one
    redis.call('ZADD', met, 'GT', now + duration, other)
    local last = redis.call('ZRANGE', met, -1, -1, 'WITHSCORES')[2]
    redis.call('PEXPIRE', met, tonumber(last) - now + 3600000)
  end
end
