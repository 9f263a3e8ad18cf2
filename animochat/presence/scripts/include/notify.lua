-- @include presence/workers
-- Tells the workers that hold these people's connections what happened to them.
-- events: a list of {p = person, e = what happened, …}. Each gets the person's next version `v`: whoever learns of two
-- changes of one person knows which is the later one. People of one worker hear in one message, so that no worker
-- ever knows the half of what a script did. Who has no connection just now learns from its record when it is back.
-- workers: by person, for a caller that has set `v` and knows the worker ('' for none).
local function notify(lobby, events, workers)
  local by_worker, order = {}, {}
  for _, event in ipairs(events) do
    local worker
    if workers then
      worker = workers[event.p]
    else
      local record = lobby .. ':person:' .. event.p
      event.v = redis.call('HINCRBY', record, 'v', 1)
      worker = redis.call('HGET', record, 'worker')
    end
    if worker and worker ~= '' then
      if not by_worker[worker] then
        by_worker[worker] = {}
        order[#order + 1] = worker
      end
      table.insert(by_worker[worker], event)
    end
  end
  for _, worker in ipairs(order) do
    redis.call('PUBLISH', channel(lobby, worker), cjson.encode(by_worker[worker]))
  end
end
