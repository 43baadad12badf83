-- Jobs that wait for others to end (reason `dependency`). `needs:{job}` has the ids that the job waits for, `dependents:{id}` the ids of
-- the jobs that wait for it. Entries of both are removed as they are served.
--
-- The script that ends a job notes it here; `settle` (dependents.lua), at the end of the same script, serves the dependents.

local just_ended = {}

-- Called by end_job. The third part is read by workers of the version before: how long they keep what these ends end.
local function note_end(id, to) just_ended[#just_ended + 1] = {id, to, TTL_MS} end

-- Looks up what a new job depends on, as far as that is not `known`. Returns the place of the first id that the tenant does not have, or that
-- is not in the one workspace whose jobs the caller may see (`within`, or '').
local function look_up_needs(new, within, known)
  new.needs, new.known = {}, known
  for place, id in ipairs(cjson.decode(new.job.depends_on)) do
    if known[id] == nil then
      local found = redis.call('HMGET', K.job(id), 'status', 'tenant_id', 'workspace_id')
      known[id] = found[2] == new.job.tenant_id and (within == '' or found[3] == within) and found[1] or false
    end
    if not known[id] then return place end
    if known[id] ~= 'completed' then new.needs[#new.needs + 1] = id end
  end
end

-- Looks up what new jobs of a tenant depend on. Returns the reply that names each job (from 0) with the place of an id on which it may not
-- depend; nil if all is well. Writes nothing. workflow: they may depend on each other.
local function bad_dependency(asked, within, workflow)
  local known, reply = {}, nil
  for i = 1, workflow and #asked or 0 do known[asked[i].id] = 'queued' end
  for i = 1, #asked do
    local place = asked[i].job.depends_on and look_up_needs(asked[i], within, known)
    if place then
      reply = reply or {'dependency'}
      reply[#reply + 1] = i - 1
      reply[#reply + 1] = place - 1
    end
  end
  return reply
end

-- Makes a new job wait for the jobs that it needs and that have not ended. Returns whether it waits. `by_need` collects what
-- `add_dependents` writes.
local function wait_for_others(new, by_need)
  if not (new.needs and new.needs[1]) then return false end
  for _, need in ipairs(new.needs) do
    local waiting = by_need[need] or {status = new.known[need]}
    by_need[need] = waiting
    waiting[#waiting + 1] = new.id
  end
  redis.call('SADD', K.needs(new.id), unpack(new.needs))
  return true
end

-- Dependencies that had failed before the job came are left to `settle`. This script does not settle them itself: every submit would cost
-- more.
local function add_dependents(by_need)
  for need, waiting in pairs(by_need) do
    redis.call('SADD', K.dependents(need), unpack(waiting))
    if waiting.status == 'failed' or waiting.status == 'cancelled' then
      redis.call('RPUSH', K.unsettled(), cjson.encode({need, waiting.status, TTL_MS}))
    end
  end
end

-- A job no longer waits for its signal, which is there, for its parts, or for its dependencies: it was cancelled, or its time is over.
local function stop_waiting(id, job)
  if job.reason == 'signal' then
    redis.call('ZREM', K.awaiting(), id)
    redis.call('ZREM', K.tenant_awaiting(job.tenant_id), id)
    redis.call('HDEL', K.job(id), 'awaits', 'awaits_since', 'awaits_until', 'awaits_or')
  end
  if job.reason == 'parts' then redis.call('ZREM', K.splitting(), id) end
  if job.reason ~= 'dependency' then return end
  for _, need in ipairs(redis.call('SMEMBERS', K.needs(id))) do redis.call('SREM', K.dependents(need), id) end
  redis.call('DEL', K.needs(id))
end
