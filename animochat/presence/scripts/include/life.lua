-- LIFE: milliseconds for which the record of a person or a room is kept when nobody touches it. The workers touch what
-- they hold every hour, so that this only clears away what nobody holds any more.
local LIFE = 7 * 24 * 3600 * 1000
