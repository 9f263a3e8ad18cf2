-- Store messages of any number of rooms, and publish them to the workers of partners who are elsewhere: one publication
-- per worker. If messages may not be stored, only the log is left out. A message is refused if another connection has
-- replaced its sender's, if the room is over, or if the store doesn't know the room.
--
-- KEYS[i]  tag of the i-th message's room; the script touches, behind it:
--          :log (stream, capped; an entry's id is `<seq>-0`), :meta (hash: `seq` the last message's seq; `a`, `b` the
--          worker of that member, if it isn't the one that the match named; `va`, `vb` the version of that member's
--          latest registration, `inf` once the room is over; `<slot>:<clientId>` the message's seq and time, and
--          `#<seq>` the reverse, to forget it with the entry; `last:<slot>`, in a cluster or if messages may not be
--          stored, the seq of that member's last message; `renewed` the time at which the expiry of both was last
--          renewed)
-- ARGV[1]  the asking worker
-- ARGV[2]  how many entries a log keeps
-- ARGV[3]  milliseconds that an untouched log is kept
-- ARGV[4]  '1', or '0' if messages may not be stored
-- ARGV[5]  time in milliseconds, or '' for the store's clock
-- ARGV[6]  tag of the lobby whose workers get the publications; '' in a cluster: the caller publishes
-- then for each message seven:
--          sender's slot ('a' or 'b'); the partner; the partner's worker as the sender's worker knows it;
--          the highest seq that the sender's worker knows; the sender's version as its connection knows it;
--          client id or ''; the message's body, a piece of JSON
--
-- Returns  for each message {seq, timestamp in ms, outcome}, flat; seq 0: nothing was stored
--          local: the partner is at the asking worker. remote: published to another worker. again: this client id was
--          stored before; seq and timestamp are those of the first time. lost: the store doesn't know the room, or has
--          lost the end of its log (a replica became the primary): attach the sender again, so that no seq is used
--          twice. stale: the sender has registered another connection since. ended: the room is over.
--          If messages may not be stored, `again` is published too: no log has a message that the partner missed.
--          In a cluster '<outcome> <the partner's worker> <seq of the sender's message before this one>'.
-- @include presence/wall_clock
-- @include presence/workers

-- RENEW: milliseconds after which a log's expiry is renewed. Doing so for each message would double its cost.
local RENEW = 3600000
local me, keep, life, storing = ARGV[1], tonumber(ARGV[2]), ARGV[3], ARGV[4] == '1'
local now, lobby = wall_clock(ARGV[5]), ARGV[6]
local publishing = lobby ~= ''
local result, lines, order = {}, {}, {}
local version_of = {a = 'va', b = 'vb'}
for i, room in ipairs(KEYS) do
  local at = 6 + (i - 1) * 7
  local slot, partner, worker, version = ARGV[at + 1], ARGV[at + 2], ARGV[at + 3], ARGV[at + 5]
  local client_id, body = ARGV[at + 6], ARGV[at + 7]
  local meta, log = room .. ':meta', room .. ':log'
  local field = client_id ~= '' and slot .. ':' .. client_id
  local known =
    redis.call('HMGET', meta, 'seq', slot == 'a' and 'b' or 'a', 'renewed', version_of[slot], field or 'seq')
  worker = known[2] or worker
  local seen = tonumber(ARGV[at + 4])
  local seq, timestamp, before, outcome = tonumber(known[1] or 0), now, 0
  if known[4] ~= version and (not known[4] or tonumber(known[4]) > tonumber(version)) then
    seq, outcome = 0, not known[4] and 'lost' or known[4] == 'inf' and 'ended' or 'stale'
  elseif field and known[5] then
    local first, at_that_time = string.match(known[5], '^(%d+) (%d+)$')
    seq, timestamp, outcome = tonumber(first), tonumber(at_that_time), 'again'
  elseif seq < seen then
    seq, outcome = 0, 'lost'
  else
    seq = seq + 1
    if storing then
      redis.call('XADD', log, 'MAXLEN', keep, seq .. '-0', 's', slot, 't', now, 'm', body)
    end
    if field then
      redis.call('HSET', meta, 'seq', seq, field, seq .. ' ' .. now, '#' .. seq, field)
    else
      redis.call('HSET', meta, 'seq', seq)
    end
    if seq > keep then
      local forgotten = redis.call('HGET', meta, '#' .. (seq - keep))
      if forgotten then redis.call('HDEL', meta, '#' .. (seq - keep), forgotten) end
    end
    if not known[3] or now - known[3] > RENEW then
      redis.call('HSET', meta, 'renewed', now)
      redis.call('PEXPIRE', log, life)
      redis.call('PEXPIRE', meta, life)
    end
    outcome = worker == me and 'local' or 'remote'
    if not publishing then before = redis.call('HGET', meta, 'last:' .. slot) or 0 end
    if not (publishing and storing) then redis.call('HSET', meta, 'last:' .. slot, seq) end
  end
  if not publishing then
    outcome = outcome .. ' ' .. worker .. ' ' .. before
  elseif worker ~= me and (outcome == 'remote' or outcome == 'again' and not storing) then
    if not lines[worker] then
      lines[worker] = {'messages'}
      order[#order + 1] = worker
    end
    local id = string.match(room, '{room:(.*)}')
    table.insert(lines[worker], partner .. ' ' .. id .. ' ' .. seq .. ' ' .. timestamp .. ' ' .. body)
  end
  result[#result + 1], result[#result + 2], result[#result + 3] = seq, timestamp, outcome
end
for _, worker in ipairs(order) do
  if worker ~= '' then redis.call('PUBLISH', channel(lobby, worker), table.concat(lines[worker], '\n')) end
end
return result
