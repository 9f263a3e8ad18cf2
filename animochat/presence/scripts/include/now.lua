-- @include presence/wall_clock
-- The lobby's own clock, by which everything is due. It runs with the store's (or with `override`), but neither goes
-- back nor jumps when that one is set: `:clock` has what it showed at the last tick, and how far it is ahead of the
-- store's. Ticks come several times a second as long as a worker lives. So a store's clock that is behind the last
-- tick, or later by more than STEP, was set, and no time has passed; nor does any while nobody ticks, because the store
-- or all workers are away.
local STEP = 5000
local clock_ahead = 0
local function clock(override)
  local store, last = wall_clock(override), redis.call('GET', KEYS[1] .. ':clock')
  if not last then return store end
  local seen, ahead = string.match(last, '^(%d+) (%S+)$')
  seen = tonumber(seen)
  local now = store + tonumber(ahead)
  if now < seen or now > seen + STEP then now = seen end
  clock_ahead = now - store
  return now
end
