-- @include presence/now
-- Convert a time of the lobby's clock to the store's clock, for people to read.
local function shown(time) return time - clock_ahead end
