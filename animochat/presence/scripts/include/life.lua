-- LIFE: milliseconds after which an untouched record of a person or a room expires. Workers touch the records that they
-- use every hour, so that this removes only records that no worker uses any more.
local LIFE = 7 * 24 * 3600 * 1000
