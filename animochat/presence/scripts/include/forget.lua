-- Somebody has gone who is in no room and waits for nobody: the record is kept for an hour, if the person isn't back
-- before. No rest and no grace time, for which it is needed, can be set to last longer (SKIP_COOLDOWN_MS,
-- RECONNECT_GRACE_MS). Whom one has met, reports and bans stand elsewhere.
local function forget(lobby, person) redis.call('PEXPIRE', lobby .. ':person:' .. person, 3600000) end
