-- @include presence/life
-- Add `change` to the number of people online, and return it; 0 only returns it. `:online` is the total size of all
-- `:worker:<worker>` sets, so that no script has to add them up. Call this after every change to one of these sets.
local function count_online(lobby, change)
  if change == 0 then return tonumber(redis.call('GET', lobby .. ':online') or 0) end
  local online = redis.call('INCRBY', lobby .. ':online', change)
  if change > 0 then redis.call('PEXPIRE', lobby .. ':online', LIFE) end
  return online
end
