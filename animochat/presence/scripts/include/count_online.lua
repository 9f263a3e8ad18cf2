-- @include presence/life
-- How many people are online stands in `:online`, so that nobody has to add up all workers' people: the size of all
-- `:worker:<worker>` sets together. Whoever adds to one or takes from it says here what that came to (or 0, to ask).
-- Returns how many are online now.
local function count_online(lobby, change)
  if change == 0 then return tonumber(redis.call('GET', lobby .. ':online') or 0) end
  local online = redis.call('INCRBY', lobby .. ':online', change)
  if change > 0 then redis.call('PEXPIRE', lobby .. ':online', LIFE) end
  return online
end
