-- Mark people as away that the store lists at a worker, although it has no connection of theirs: the store lost their
-- last changes.
--
-- KEYS[1]  tag of the lobby; the script touches, behind it: :away, :pool, :resting, :selective, :searching,
--          :interest:<interest> (sorted sets), :worker:<worker> (set), :online (string), :person:<person>,
--          :room:<room> (hashes)
-- ARGV[1]  the asking worker
-- ARGV[2]  milliseconds for which the people's places are kept
-- ARGV[3]  time in milliseconds, or '' for the store's clock
-- then the people
--
-- Returns  how many of them the store listed
-- @include presence/now
-- @include presence/count_online
-- @include presence/vanish
local lobby, worker, released = KEYS[1], ARGV[1], 0
local now = clock(ARGV[3])
for i = 4, #ARGV do
  local person = ARGV[i]
  if redis.call('SREM', lobby .. ':worker:' .. worker, person) > 0 then
    count_online(lobby, -1)
    if redis.call('HGET', lobby .. ':person:' .. person, 'worker') == worker then
      vanish(lobby, person, now, now + tonumber(ARGV[2]))
    end
    released = released + 1
  end
end
return released
