-- Return the name of a worker's own channel. It contains the lobby's tag, so that in a cluster it is in the lobby's
-- slot. If the store has sharded pub/sub, store/scripts.py replaces PUBLISH by SPUBLISH and NUMSUB by SHARDNUMSUB.
local function channel(lobby, worker) return lobby .. ':channel:' .. worker end

-- LEASE: milliseconds without a heartbeat after which a worker counts as dead.
local LEASE = 5000

-- Return whether a worker is alive: its heartbeat is recent, and its channel has a subscriber. The subscriber is gone
-- as soon as the process is killed, long before the lease ends.
local worker_is_alive_cache = {}
local function worker_is_alive(lobby, worker, now)
  if not worker then return false end
  local known = worker_is_alive_cache[worker]
  if known == nil then
    local beat = redis.call('ZSCORE', lobby .. ':workers', worker)
    known = (beat and tonumber(beat) > now - LEASE
      and redis.call('PUBSUB', 'NUMSUB', channel(lobby, worker))[2] > 0) or false
    worker_is_alive_cache[worker] = known
  end
  return known
end
