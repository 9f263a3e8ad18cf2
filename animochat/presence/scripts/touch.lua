-- Renew the expiry of connected people's records, of their rooms, and of the sets of the interests that they wait for.
--
-- KEYS[1]  tag of the lobby; the script touches, behind it: :person:<person>, :room:<room> (hashes),
--          :interest:<interest> (sorted sets)
-- ARGV     people
-- @include presence/life
-- @include matchmaking/interests
for _, person in ipairs(ARGV) do
  local key = KEYS[1] .. ':person:' .. person
  redis.call('PEXPIRE', key, LIFE)
  local record = redis.call('HMGET', key, 'room', 'interests')
  if record[1] then redis.call('PEXPIRE', KEYS[1] .. ':room:' .. record[1], LIFE) end
  for _, set in ipairs(interest_sets(KEYS[1], record[2])) do redis.call('PEXPIRE', set, LIFE) end
end
return #ARGV
