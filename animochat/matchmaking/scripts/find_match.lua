-- A person asks for a partner.
--
-- KEYS[1]  tag of the lobby; the script touches, behind it:
--          :person:<person> (hash), :met:<person> (sorted set), :pool, :resting, :searching, :workers, :rooms (sorted
--          sets), :room:<room> (hash), :counters (hash)
-- ARGV[1]  person
-- ARGV[2]  the person's connection
-- ARGV[3]  seed, a random string
-- ARGV[4]  milliseconds for which two who met do not meet again
-- ARGV[5]  time in milliseconds, or '' for the store's clock
--
-- Returns  {'unknown'}                      the store doesn't know this connection
--          {'in-room'}
--          {'waiting', ms, version, ended}  in the pool, or resting for ms more
--          {'matched', 0, version, ended}   both workers hear of it
--          ended: '<room> <reason>' of the room that the partner ended last, for a worker that hasn't heard of it yet
-- @include presence/now
-- @include matchmaking/seek
local lobby, person = KEYS[1], ARGV[1]
local now = clock(ARGV[5])
local record = redis.call('HMGET', lobby .. ':person:' .. person, 'conn', 'room', 'waiting', 'rest', 'v', 'ended')
if record[1] ~= ARGV[2] then return {'unknown'} end
if record[2] then return {'in-room'} end
if record[3] then return {'waiting', math.max(0, tonumber(record[4] or 0) - now), tonumber(record[5]), ''} end
local version = tonumber(record[5]) + 1
redis.call('HSET', lobby .. ':person:' .. person, 'waiting', now, 'v', version)
local state, rest = seek(lobby, person, tonumber(record[4] or 0), false, now, ARGV[3], tonumber(ARGV[4]))
return {state, rest, version, record[6] or ''}
