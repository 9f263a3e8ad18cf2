-- @include presence/workers
-- Send events to the workers that hold these people's connections.
-- events: a list of {p = person, e = event, …}. Each gets the person's next version `v`, which tells the later of two
-- changes. All events for one worker go in one message, so that no worker applies half of a script's changes. A person
-- without a connection gets the changes from the record after reconnecting.
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
