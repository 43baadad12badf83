#!lua flags=allow-oom
-- Put right what should never be wrong: counters against a recount, queued and running jobs that are in no queue.
-- KEYS: prefix
-- ARGV: order from which to look at jobs, most jobs to look at, TTL ms, admission
-- Returns {counters put right, jobs put right, order from which to go on or '', hints}.
local from, limit = ARGV[1], tonumber(ARGV[2])
local counters, jobs = 0, 0

prune_workers()
local running, stranded = {}, 0
-- Slots by tenant and by pipeline: hinted and running jobs.
local tenants, pipelines = {}, {}
for _, key in ipairs({K.hints(), K.leases()}) do
  for _, id in ipairs(redis.call('ZRANGE', key, 0, -1)) do
    local job = load(id)
    if job then
      tenants[job.tenant_id] = (tenants[job.tenant_id] or 0) + 1
      pipelines[job.pipeline] = (pipelines[job.pipeline] or 0) + 1
    end
  end
end
for tenant, n in pairs(tenants) do
  if share_of(tenant).n ~= n then
    counters = counters + 1
    share_of(tenant).n = n
    redis.call('HSET', K.share(tenant), 'n', n)
  end
end
for _, field in ipairs(redis.call('HKEYS', K.pipelines())) do
  local pipeline = string.match(field, '^n:(.*)$')
  if pipeline and not pipelines[pipeline] then pipelines[pipeline] = 0 end
end
for pipeline, n in pairs(pipelines) do
  if pipe_of(pipeline).n ~= n then
    counters = counters + 1
    pipe_of(pipeline).n = n
    redis.call('HSET', K.pipelines(), 'n:' .. pipeline, n)
  end
end
for _, id in ipairs(redis.call('ZRANGE', K.leases(), 0, -1)) do
  local worker = redis.call('HGET', K.job(id), 'worker')
  if worker then
    running[worker] = (running[worker] or 0) + 1
    if not redis.call('ZSCORE', K.workers(), worker) then stranded = stranded + 1 end
  end
end
local known = redis.call('HGETALL', K.running())
for i = 1, #known, 2 do
  if tonumber(known[i + 1]) ~= running[known[i]] then
    counters = counters + 1
    redis.call('HDEL', K.running(), known[i])
  else
    running[known[i]] = nil
  end
end
for worker, n in pairs(running) do
  redis.call('HSET', K.running(), worker, n)
end
local capacity = 0
for _, worker in ipairs(redis.call('HKEYS', K.slots())) do
  if redis.call('ZSCORE', K.workers(), worker) then
    capacity = capacity + tonumber(redis.call('HGET', K.slots(), worker))
  else
    counters = counters + 1
    redis.call('HDEL', K.slots(), worker)
  end
end
if tonumber(redis.call('GET', K.capacity()) or '0') ~= capacity then
  counters = counters + 1
  redis.call('SET', K.capacity(), capacity)
end
if tonumber(redis.call('GET', K.stranded()) or '0') ~= stranded then
  counters = counters + 1
  redis.call('SET', K.stranded(), stranded)
end

-- A queued job is in one of ready, hints and delayed; a running one has a lease.
local last = ''
for _, status in ipairs({'queued', 'running'}) do
  local page = redis.call('ZRANGEBYSCORE', K.status(status), '(' .. from, '+inf', 'WITHSCORES', 'LIMIT', 0, limit)
  for i = 1, #page, 2 do
    local id = page[i]
    local job = load(id)
    if not job then
      redis.call('ZREM', K.status(status), id)
      jobs = jobs + 1
    elseif job.status == 'queued' then
      local share = share_of(job.tenant_id)
      if tenants[job.tenant_id] == nil and share.n ~= 0 then
        counters = counters + 1
        share.n = 0
        redis.call('HSET', K.share(job.tenant_id), 'n', 0)
      end
      local in_lane = redis.call('ZSCORE', K.ready(job.tenant_id, job.workspace_id, job.pipeline), ready_member(id, job))
      if in_lane and not redis.call('ZSCORE', K.ring(), job.tenant_id) and tenants[job.tenant_id] == nil
        and not held_back(job.tenant_id) and not pipeline_full(job.pipeline) then
        -- Nothing of this tenant runs whose end would bring it back into the ring.
        enter(job.tenant_id, job.workspace_id)
        jobs = jobs + 1
      end
      if job.reason == 'dependency' then
        -- What it needs has ended or is gone, and it was not told.
        for _, need in ipairs(redis.call('SMEMBERS', K.needs(id))) do
          local status = redis.call('HGET', K.job(need), 'status')
          if status ~= 'queued' and status ~= 'running' then
            redis.call('SADD', K.dependents(need), id)
            note_end(need, status or 'failed', ARGV[3])
            jobs = jobs + 1
          end
        end
      end
      local waits = job.reason == 'dependency' and redis.call('EXISTS', K.needs(id)) == 1
      if not (waits or in_lane or redis.call('ZSCORE', K.hints(), id) or redis.call('ZSCORE', K.delayed(), id)) then
        redis.call('HSET', K.job(id), 'reason', 'fair_share')
        make_ready(id, job)
        enter(job.tenant_id, job.workspace_id)
        jobs = jobs + 1
      end
    elseif job.status == 'running' and not redis.call('ZSCORE', K.leases(), id) then
      redis.call('ZADD', K.leases(), int(NOW), id)
      redis.call('HINCRBY', K.running(), job.worker, 1)
      if not redis.call('ZSCORE', K.workers(), job.worker) then redis.call('INCR', K.stranded()) end
      jobs = jobs + 1
    end
  end
  if #page == 2 * limit and (last == '' or tonumber(page[#page]) < tonumber(last)) then last = page[#page] end
end
return {counters, jobs, last, settle_and_admit()}
