-- Keep the record of a person who has left, is in no room and does not wait, for one hour. No cooldown and no grace
-- time, which need the record, can be set to last longer (SKIP_COOLDOWN_MS, RECONNECT_GRACE_MS, LOST_GRACE_MS). Match
-- history, reports and bans have keys of their own.
local function forget(lobby, person) redis.call('PEXPIRE', lobby .. ':person:' .. person, 3600000) end
