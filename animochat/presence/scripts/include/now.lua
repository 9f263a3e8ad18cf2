-- @include presence/wall_clock
-- Return the lobby's time, which decides what is due. It follows the store's clock (or `override`), but does not go
-- back or jump when someone sets that clock: `:clock` has the lobby's time at the last tick, and its lead over the
-- store's clock. Ticks come several times per second while a worker lives. So if the store's clock is behind the last
-- tick, or ahead of it by more than STEP, it was set and no time has passed. Time also stands still without ticks,
-- while the store or all workers are away.
local STEP = 5000
local clock_ahead = 0
local clock_held = false -- whether time stood still until now; a tick lets it go on
local function clock(override)
  local store, last = wall_clock(override), redis.call('GET', KEYS[1] .. ':clock')
  if not last then return store end
  local seen, ahead = string.match(last, '^(%d+) (%S+)$')
  seen = tonumber(seen)
  local now = store + tonumber(ahead)
  clock_held = now < seen or now > seen + STEP
  if clock_held then now = seen end
  clock_ahead = now - store
  return now
end
