#!lua flags=allow-oom
-- Count again what is counted: slots in use by tenant and by pipeline, leases by worker, slots of live workers. The cost depends on the
-- running jobs, not on the waiting ones: five thousand running jobs take some ten ms. oldest: how many of the jobs that wait longest to
-- look at.
--@args oldest:int
--@settings admits
--@reply counters hints
-- counters: how many were corrected.
local counters = 0

-- Corrects a counter if it is wrong.
local function put_right(key, right)
  if tonumber(redis.call('GET', key) or '0') == right then return end
  counters = counters + 1
  redis.call('SET', key, right)
end

-- Hinted and running jobs of the pool by tenant; those of all pools by pipeline (including every pipeline that is recorded to have slots), and by
-- tenant in other pools than `default`.
local by_pipeline, in_others = {n = {}, others = {}}, {}

-- Leases of the pool by worker, how many of them are held by workers that are gone, and hinted and running jobs by tenant.
local function recount_slots()
  local tenants, running, stranded = {}, {}, 0
  local pipelines = by_pipeline[POOL == '' and 'n' or 'others']
  for _, key in ipairs({K.hints(), K.leases()}) do
    for _, id in ipairs(redis.call('ZRANGE', key, 0, -1)) do
      local job = redis.call('HMGET', K.job(id), 'tenant_id', 'pipeline', 'worker')
      local tenant, pipeline, worker = job[1], job[2], key == K.leases() and job[3]
      if tenant and pipeline then
        tenants[tenant] = (tenants[tenant] or 0) + 1
        pipelines[pipeline] = (pipelines[pipeline] or 0) + 1
        if POOL ~= '' then in_others[tenant] = (in_others[tenant] or 0) + 1 end
      end
      if worker then
        running[worker] = (running[worker] or 0) + 1
        if not redis.call('ZSCORE', K.workers(), worker) then stranded = stranded + 1 end
      end
    end
  end
  return tenants, running, stranded
end

-- A tenant's slots: `n` of the pool, or `others`.
local function slots_of_tenant(tenant, n, which)
  local share = which == 'others' and common_of(tenant) or share_of(tenant)
  if share[which] == n then return end
  counters = counters + 1
  share[which] = n
  redis.call('HSET', K.share(tenant), which .. POOL, n)
end

local function slots_of_pipelines()
  for _, field in ipairs(redis.call('HKEYS', K.pipelines())) do
    local which, pipeline = string.match(field, '^(%a+):(.*)$')
    local counted = by_pipeline[which]
    if counted then counted[pipeline] = counted[pipeline] or 0 end
  end
  for which, counted in pairs(by_pipeline) do
    for pipeline, n in pairs(counted) do
      local pipe = pipe_of(pipeline)
      if pipe[which] ~= n then
        counters = counters + 1
        pipe[which] = n
        redis.call('HSET', K.pipelines(), which .. ':' .. pipeline, n)
      end
    end
  end
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

-- The slots of the live workers; those of other workers are removed.
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

-- Jobs that were started or ended by a version without this index become its oldest entries, sooner or later.
local function forget_started()
  for _, id in ipairs(redis.call('ZRANGE', K.ready_since(), 0, oldest - 1)) do
    if redis.call('HGET', K.job(id), 'status') ~= 'queued' then redis.call('ZREM', K.ready_since(), id) end
  end
end

-- Likewise of parked jobs that a version without these indexes took out of where they lay.
local function forget_parked()
  for _, id in ipairs(redis.call('ZRANGE', K.splitting(), 0, oldest - 1)) do
    if redis.call('HGET', K.job(id), 'reason') ~= 'parts' then redis.call('ZREM', K.splitting(), id) end
  end
  for _, id in ipairs(redis.call('ZRANGE', K.awaiting(), 0, oldest - 1)) do
    local job = redis.call('HMGET', K.job(id), 'status', 'reason', 'tenant_id')
    if job[1] ~= 'queued' or job[2] ~= 'signal' then
      redis.call('ZREM', K.awaiting(), id)
      if job[3] then redis.call('ZREM', K.tenant_awaiting(job[3]), id) end
    end
  end
end

in_each_pool(function()
  prune_workers()
  note_fleet()
  local tenants, running, stranded = recount_slots()
  for tenant, n in pairs(tenants) do slots_of_tenant(tenant, n, 'n') end
  leases_of_workers(running)
  put_right(K.capacity(), recount_capacity())
  put_right(K.stranded(), stranded)
  here.row = nil
end)
for tenant, n in pairs(in_others) do slots_of_tenant(tenant, n, 'others') end
slots_of_pipelines()
forget_started()
forget_parked()
return {counters, admit()}
