-- Open the logs of new rooms: record the members' registrations, and accept their messages from now on. A room that
-- is over stays closed; a member who has registered since keeps the later version.
--
-- KEYS[i]  tag of the i-th member's room; the script touches, behind it: :meta (hash)
-- ARGV[1]  milliseconds that an untouched log is kept
-- then for each member two: slot ('a' or 'b'); the person's version at the match
--
-- Returns  1
for i, room in ipairs(KEYS) do
  local meta, field, version = room .. ':meta', 'v' .. ARGV[2 * i], ARGV[2 * i + 1]
  local known = redis.call('HGET', meta, field)
  if not known or tonumber(known) < tonumber(version) then
    redis.call('HSET', meta, field, version)
    redis.call('PEXPIRE', meta, ARGV[1])
  end
end
return 1
