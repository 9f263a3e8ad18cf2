-- Record the settings that a worker shares with all others of its lobby, and return those of the others.
--
-- KEYS[1]  tag of the lobby; the script touches, behind it: :identities (hash), :workers (sorted set)
-- ARGV[1]  worker
-- ARGV[2]  its identity (presence/identity.py), or '' to record nothing
-- ARGV[3]  time in milliseconds, or '' for the store's clock
--
-- Returns  the identities of the other live workers: '' for a worker that records none
-- @include presence/now
-- @include presence/life
-- @include presence/workers
local lobby, worker = KEYS[1], ARGV[1]
local now = clock(ARGV[3])
local key = lobby .. ':identities'
if ARGV[2] ~= '' then
  redis.call('HSET', key, worker, ARGV[2])
  redis.call('PEXPIRE', key, LIFE)
end
local living, others = {[worker] = true}, {}
for _, name in ipairs(redis.call('ZRANGEBYSCORE', lobby .. ':workers', '(' .. (now - LEASE), '+inf')) do
  if name ~= worker then others[#others + 1] = redis.call('HGET', key, name) or '' end
  living[name] = true
end
for _, name in ipairs(redis.call('HKEYS', key)) do
  if not living[name] then redis.call('HDEL', key, name) end
end
return others
