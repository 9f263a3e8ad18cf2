-- The name of a worker's own channel. It carries the lobby's tag, so that in a cluster it is in the lobby's slot; where
-- the store has sharded pub/sub, store/scripts.py makes SPUBLISH of PUBLISH and SHARDNUMSUB of NUMSUB.
local function channel(lobby, worker) return lobby .. ':channel:' .. worker end

-- LEASE: milliseconds without a heartbeat after which a worker counts as dead.
local LEASE = 5000

-- Is this worker there? Its heartbeat is recent, and somebody listens on its channel: the second is false as soon as
-- the process is killed, long before the first.
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
