-- Mark the people of a dead or leaving worker as away: one portion per call, and each person once, even if several
-- workers do it.
--
-- KEYS[1]  tag of the lobby; the script touches, behind it: :workers, :away, :pool, :resting, :selective, :searching,
--          :interest:<interest> (sorted sets), :worker:<worker>, :stopping (sets), :online (string), :person:<person>,
--          :room:<room> (hashes)
-- ARGV[1]  the worker
-- ARGV[2]  milliseconds for which its people's places are kept
-- ARGV[3]  '1' if the worker itself asks
-- ARGV[4]  time in milliseconds, or '' for the store's clock
--
-- Returns  1 if more people are left (run it again), else 0
-- @include presence/now
-- @include presence/count_online
-- @include presence/recount_online
-- @include presence/workers
-- @include presence/vanish
local PORTION = 50
local lobby, worker = KEYS[1], ARGV[1]
local now = clock(ARGV[4])
local beat = redis.call('ZSCORE', lobby .. ':workers', worker)
if ARGV[3] ~= '1' and beat and tonumber(beat) > now - LEASE then return 0 end
local people = redis.call('SPOP', lobby .. ':worker:' .. worker, PORTION)
count_online(lobby, -#people)
for _, person in ipairs(people) do
  if redis.call('HGET', lobby .. ':person:' .. person, 'worker') == worker then
    vanish(lobby, person, now, now + tonumber(ARGV[2]))
  end
end
if #people == PORTION then return 1 end
if redis.call('ZREM', lobby .. ':workers', worker) > 0 then recount_online(lobby) end
redis.call('SREM', lobby .. ':stopping', worker)
return 0
