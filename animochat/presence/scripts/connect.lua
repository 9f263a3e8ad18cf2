-- Register a person's connection; the newest one wins. A worker runs this again for a connection that it holds when the
-- store may have forgotten it: then a newer connection wins. Banned people are refused.
--
-- KEYS[1]  tag of the lobby; the script touches, behind it: :person:<person>, :room:<room>, :past:<room> (hashes),
--          :worker:<worker> (set), :online (string), :away, :workers, :resting, :selective, :searching, :pool, :bans,
--          :rooms, :ended (sorted sets)
-- ARGV[1]  person
-- ARGV[2]  worker
-- ARGV[3]  connection
-- ARGV[4]  the connection's Socket.IO session id
-- ARGV[5]  the session that the client wants to recover, or ''
-- ARGV[6]  '1' when run again for an existing connection
-- ARGV[7]  keyed hash of the client's address, or ''
-- ARGV[8]  time in milliseconds, or '' for the store's clock
-- ARGV[9]  the person's version as the connection knows it, when run again: the store may have lost later changes
-- ARGV[10] the device that the client sent, or ''
-- ARGV[11] the device of a person who has none in the store, if the client sent none
--
-- Returns  {'banned', ms, reason}         the person, the address or the device, for ms more; -1: permanently. Nothing
--                                         was changed
--          {'replaced'}                   a newer connection exists (only when run again)
--          {'idle', version, online, recovered, ended, last, device}
--                                         online: people online in the lobby; recovered: 1 if the session continues;
--                                         ended: '<room> <reason>' of the last room that the partner ended;
--                                         last: '<room> <ms>' of the last room that ended and may still be reported,
--                                         and when it ended, or ''
--          {'waiting', version, online, recovered, ended, last, device, interests, ms of cooldown left}
--                                         interests: in the person's own spelling, a JSON list, or ''
--          {'chatting', version, online, recovered, ended, last, device, then the room as room_as_seen returns it}
-- @include presence/now
-- @include presence/shown
-- @include presence/life
-- @include presence/notify
-- @include presence/count_online
-- @include rooms/end_room
-- @include rooms/room_as_seen
local lobby, person, worker, conn = KEYS[1], ARGV[1], ARGV[2], ARGV[3]
local now = clock(ARGV[8])
local key = lobby .. ':person:' .. person
local device = ARGV[10]
if device == '' then device = redis.call('HGET', key, 'device') or ARGV[11] end
local banned, by = 0, nil
local subjects = {'person:' .. person, 'address:' .. ARGV[7], 'device:' .. device}
for i, until_when in ipairs(redis.call('ZMSCORE', lobby .. ':bans', unpack(subjects))) do
  if until_when and tonumber(until_when) > banned then banned, by = tonumber(until_when), subjects[i] end
end
if banned > now then
  local reason = redis.call('HGET', lobby .. ':ban:' .. by, 'reason') or ''
  return {'banned', banned < math.huge and banned - now or -1, reason}
end

local fields = {'worker', 'conn', 'room', 'waiting', 'rest', 'session', 'kept', 'ended', 'spelled', 'v', 'last'}
local old = redis.call('HMGET', key, unpack(fields))

local gone = 0
if old[2] and old[2] ~= conn then
  -- A newer connection has increased the version; a store that lost this registration has a lower version.
  if ARGV[6] == '1' and tonumber(old[10]) > tonumber(ARGV[9]) then return {'replaced'} end
  gone = redis.call('SREM', lobby .. ':worker:' .. old[1], person)
  redis.call('PUBLISH', channel(lobby, old[1]), cjson.encode({{p = person, e = 'replaced', conn = old[2]}}))
end
-- A session continues if its connection still counts as present, or for as long as its place is kept.
local recovered = ARGV[5] ~= '' and ARGV[5] == old[6]
  and (old[2] or (old[7] and now <= tonumber(old[7]))) and 1 or 0
redis.call(
  'HSET', key, 'worker', worker, 'conn', conn, 'session', recovered == 1 and ARGV[5] or ARGV[4], 'device', device
)
if ARGV[7] ~= '' then redis.call('HSET', key, 'address', ARGV[7]) end
-- Keep `ended` until another room ends: the client may have to ask for it more than once.
redis.call('HDEL', key, 'kept')
local ended, last = old[8] or '', old[11] or ''
if last ~= '' and redis.call('EXISTS', lobby .. ':past:' .. string.match(last, '^%S+')) == 0 then last = '' end
redis.call('PEXPIRE', key, LIFE)
-- List a worker that has people, so that they are counted, and marked as away if it dies. If the others took it for
-- dead and it has not noticed yet, the half shows that to its next heartbeat.
redis.call('ZADD', lobby .. ':workers', 'NX', now + 0.5, worker)
local online = count_online(lobby, redis.call('SADD', lobby .. ':worker:' .. worker, person) - gone)
redis.call('PEXPIRE', lobby .. ':worker:' .. worker, LIFE)
local was_away = redis.call('ZREM', lobby .. ':away', person) > 0
-- The version of a registration comes from the store's clock. So no version repeats, even if the store lost data, and a
-- room's log can tell the later of two registrations (append_messages.lua).
local version = math.max(redis.call('HINCRBY', key, 'v', 1), shown(now))
redis.call('HSET', key, 'v', version)

local room = old[3] and room_as_seen(lobby, old[3], person, now)
if room then
  notify(lobby, {{p = room[6], e = 'reconnected', room = old[3], worker = worker, quiet = not was_away}})
  return {'chatting', version, online, recovered, ended, last, device, unpack(room)}
end
if old[3] then end_room(lobby, old[3], person, 'disconnected', now) end -- the room's record is lost
if old[4] then
  local rest = math.max(0, tonumber(old[5] or 0) - now)
  if rest > 0 then
    redis.call('ZADD', lobby .. ':resting', now + rest, person)
  elseif not redis.call('ZSCORE', lobby .. ':pool', person)
    and not redis.call('ZSCORE', lobby .. ':selective', person) then
    redis.call('ZADD', lobby .. ':searching', now, person)
  end
  return {'waiting', version, online, recovered, ended, last, device, old[9] or '', rest}
end
return {'idle', version, online, recovered, ended, last, device}
