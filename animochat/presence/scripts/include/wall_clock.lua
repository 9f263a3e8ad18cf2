-- Return the store's time in milliseconds, so that the servers' clocks don't matter; tests pass their own time.
local function wall_clock(override)
  -- Redis 6 replicates the effects of a script that reads the clock only if asked to; later versions always do.
  if redis.replicate_commands then redis.replicate_commands() end
  if override and override ~= '' then return tonumber(override) end
  local t = redis.call('TIME')
  return t[1] * 1000 + math.floor(t[2] / 1000)
end
