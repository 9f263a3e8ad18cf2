-- @include presence/now
-- A time of the lobby's clock by the store's own, for people to read.
local function shown(time) return time - clock_ahead end
