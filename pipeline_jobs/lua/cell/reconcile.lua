#!lua flags=allow-oom
-- Put right what should never be wrong: counters against a recount, queued and running jobs that are in no queue.
-- after: order from which to look at jobs. limit: most jobs to look at.
--@args after:digits limit:int ttl_ms:int
--@events
--@admits
--@names
--@reply counters jobs next hints
-- counters, jobs: how many were put right. next: order from which to go on, or ''.
local counters, jobs = 0, 0

-- A counter that a recount finds wrong.
local function put_right(key, right)
  if tonumber(redis.call('GET', key) or '0') == right then return end
  counters = counters + 1
  redis.call('SET', key, right)
end

-- Hinted and running jobs, by tenant and by pipeline; every pipeline that is said to have slots is there.
local function recount_slots()
  local tenants, pipelines = {}, {}
  for _, field in ipairs(redis.call('HKEYS', K.pipelines())) do
    local pipeline = string.match(field, '^n:(.*)$')
    if pipeline then pipelines[pipeline] = 0 end
  end
  for _, key in ipairs({K.hints(), K.leases()}) do
    for _, id in ipairs(redis.call('ZRANGE', key, 0, -1)) do
      local job = load(id)
      if job then
        tenants[job.tenant_id] = (tenants[job.tenant_id] or 0) + 1
        pipelines[job.pipeline] = (pipelines[job.pipeline] or 0) + 1
      end
    end
  end
  return tenants, pipelines
end

local function slots_of_tenant(tenant, n)
  local share = share_of(tenant)
  if share.n == n then return end
  counters = counters + 1
  share.n = n
  redis.call('HSET', K.share(tenant), 'n', n)
end

local function slots_of_pipeline(pipeline, n)
  local pipe = pipe_of(pipeline)
  if pipe.n == n then return end
  counters = counters + 1
  pipe.n = n
  redis.call('HSET', K.pipelines(), 'n:' .. pipeline, n)
end

-- Leases by worker, and those of workers that are gone.
local function recount_leases()
  local running, stranded = {}, 0
  for _, id in ipairs(redis.call('ZRANGE', K.leases(), 0, -1)) do
    local worker = redis.call('HGET', K.job(id), 'worker')
    if worker then
      running[worker] = (running[worker] or 0) + 1
      if not redis.call('ZSCORE', K.workers(), worker) then stranded = stranded + 1 end
    end
  end
  return running, stranded
end

local function leases_of_workers(running)
  local known = redis.call('HGETALL', K.running())
  for i = 1, #known, 2 do
    if tonumber(known[i + 1]) ~= running[known[i]] then
      counters = counters + 1
      redis.call('HDEL', K.running(), known[i])
    else
      running[known[i]] = nil
    end
  end
  for worker, n in pairs(running) do redis.call('HSET', K.running(), worker, n) end
end

-- The slots of the live workers; those of others are forgotten.
local function recount_capacity()
  local capacity = 0
  for _, worker in ipairs(redis.call('HKEYS', K.slots())) do
    if redis.call('ZSCORE', K.workers(), worker) then
      capacity = capacity + tonumber(redis.call('HGET', K.slots(), worker))
    else
      counters = counters + 1
      redis.call('HDEL', K.slots(), worker)
    end
  end
  return capacity
end

-- Jobs that were started or ended by a version that did not know this index are its oldest, sooner or later.
local function forget_started()
  for _, id in ipairs(redis.call('ZRANGE', K.ready_since(), 0, limit - 1)) do
    if redis.call('HGET', K.job(id), 'status') ~= 'queued' then redis.call('ZREM', K.ready_since(), id) end
  end
end

-- What a job needs has ended or is gone, and it was not told.
local function tell_of_ends(id)
  for _, need in ipairs(redis.call('SMEMBERS', K.needs(id))) do
    local status = redis.call('HGET', K.job(need), 'status')
    if status ~= 'queued' and status ~= 'running' then
      redis.call('SADD', K.dependents(need), id)
      note_end(need, status or 'failed', ttl_ms)
      jobs = jobs + 1
    end
  end
end

-- A queued job is in one of its lane, hints and delayed, or waits for others. `holds`: its tenant has slots.
local function look_at_queued(id, job, holds)
  if not holds then slots_of_tenant(job.tenant_id, 0) end
  local in_lane = redis.call('ZSCORE', K.ready(job.tenant_id, job.workspace_id, job.pipeline), ready_member(id, job))
  if in_lane and not holds and not redis.call('ZSCORE', K.ring(), job.tenant_id)
    and not held_back(job.tenant_id) and room_of(job.pipeline) > 0 then
    -- Nothing of this tenant runs whose end would bring it back into the ring.
    enter(job.tenant_id, job.workspace_id)
    jobs = jobs + 1
  end
  if job.reason == 'dependency' then tell_of_ends(id) end
  local waits = job.reason == 'dependency' and redis.call('EXISTS', K.needs(id)) == 1
  local hinted = redis.call('ZSCORE', K.hints(), id)
  -- Versions before this index may run, too: what they leave of it is no error.
  if in_lane or hinted then redis.call('ZADD', K.ready_since(), 'NX', job.created_at, id) else redis.call('ZREM', K.ready_since(), id) end
  if not (waits or in_lane or hinted or redis.call('ZSCORE', K.delayed(), id)) then
    redis.call('HSET', K.job(id), 'reason', 'fair_share')
    make_ready(id, job)
    enter(job.tenant_id, job.workspace_id)
    jobs = jobs + 1
  end
end

-- A running job has a lease: this one's ends now, so that the next rescue takes it.
local function look_at_running(id, job)
  if redis.call('ZSCORE', K.leases(), id) then return end
  redis.call('ZADD', K.leases(), int(NOW), id)
  redis.call('HINCRBY', K.running(), job.worker, 1)
  if not redis.call('ZSCORE', K.workers(), job.worker) then redis.call('INCR', K.stranded()) end
  jobs = jobs + 1
end

local function look_at(status, id, tenants)
  local job = load(id)
  if not job then
    redis.call('ZREM', K.status(status), id)
    jobs = jobs + 1
  elseif job.status == 'queued' then
    look_at_queued(id, job, tenants[job.tenant_id] ~= nil)
  elseif job.status == 'running' then
    look_at_running(id, job)
  end
end

prune_workers()
note_fleet()
local tenants, pipelines = recount_slots()
for tenant, n in pairs(tenants) do slots_of_tenant(tenant, n) end
for pipeline, n in pairs(pipelines) do slots_of_pipeline(pipeline, n) end
local running, stranded = recount_leases()
leases_of_workers(running)
put_right(K.capacity(), recount_capacity())
put_right(K.stranded(), stranded)
forget_started()

local last = ''
for _, status in ipairs({'queued', 'running'}) do
  local page = redis.call('ZRANGEBYSCORE', K.status(status), '(' .. after, '+inf', 'WITHSCORES', 'LIMIT', 0, limit)
  for i = 1, #page, 2 do look_at(status, page[i], tenants) end
  if #page == 2 * limit and (last == '' or tonumber(page[#page]) < tonumber(last)) then last = page[#page] end
end
return {counters, jobs, last, settle_and_admit()}
