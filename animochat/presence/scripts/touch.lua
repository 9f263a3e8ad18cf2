-- Keeps the records of people who are connected, and of their rooms, from expiring.
--
-- KEYS[1]  tag of the lobby; the script touches, behind it: :person:<person>, :room:<room> (hashes)
-- ARGV     people
-- @include presence/life
for _, person in ipairs(ARGV) do
  local key = KEYS[1] .. ':person:' .. person
  redis.call('PEXPIRE', key, LIFE)
  local room = redis.call('HGET', key, 'room')
  if room then redis.call('PEXPIRE', KEYS[1] .. ':room:' .. room, LIFE) end
end
return #ARGV
