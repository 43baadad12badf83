-- Where a job stands that waits.

-- Of a queued job, as the script queue_position replies: its place, why it waits, and about how long. Leaves the script in the job's pool.
local function place_of(id, job)
  local tenant, workspace = job and job.tenant_id, job and job.workspace_id
  if not job or job.status ~= 'queued' or not (job.order and tenant and workspace and job.pipeline) then return {} end
  use_pool(pool_of(job))
  local rank = redis.call('ZRANK', K.ready(tenant, workspace, job.pipeline), ready_member(id, job))
  if not rank and job.reason == 'parts' and job.split then
    local split = id .. '~' .. string.match(job.split, '^%d+')
    local n, left, pool = unpack(redis.call('HMGET', K.parts(split), 'n', 'left', 'pool'))
    local runs, waits, why, held = 0, 0, ''
    use_pool(pool_of({pool = pool ~= '' and pool or nil}))
    for _, part in ipairs(redis.call('SMEMBERS', K.open_parts(split))) do
      local status, said = unpack(redis.call('HMGET', K.job(part), 'status', 'reason'))
      if status == 'running' then runs = runs + 1 end
      if status == 'queued' then
        waits = waits + 1
        -- What one of them waits for in the lane, all do. One that has a hint is about to start.
        held = held or redis.call('ZSCORE', K.ready(tenant, workspace, job.pipeline), ready_member(part, job)) and why_waits(tenant, job.pipeline)
        if why == '' or why == 'dispatched' then why = said or '' end
      end
    end
    return {'parts', '0', n or '', left and int(n - left) or '', '', job.pool or '', int(runs), int(waits), held or why, pool or ''}
  end
  if not rank then return {job.reason or 'fair_share', '0', '', '', '', job.pool or ''} end
  local known = redis.call('MGET', K.fleet(), K.stranded(), K.pools())
  here.fleet = known[1] or ''

  -- The workspaces of a tenant take turns: before this one starts, each other workspace starts about as many jobs, or all it has.
  local ahead = rank
  for i, other in ipairs(redis.call('ZRANGE', K.workspaces(tenant), 0, 49)) do
    for _, pipeline in ipairs(redis.call('ZRANGE', K.lanes(tenant, other), 0, -1)) do
      if other ~= workspace or pipeline ~= job.pipeline then
        ahead = ahead + math.min(redis.call('ZCARD', K.ready(tenant, other, pipeline)), rank + 1)
      end
    end
  end

  local reason, limit, current = why_waits(tenant, job.pipeline)
  if reason == 'fair_share' then
    current = int(redis.call('ZCARD', K.leases()) - tonumber(known[2] or '0') + redis.call('ZCARD', K.hints()))
  end
  local slots = reason ~= 'tenant_paused' and math.min(live_slots(), slots_for(job.pipeline, 'slots')) or 0
  -- Nobody can say when: the others are not looked at.
  if slots == 0 then return {reason, int(ahead + 1), limit, current, '', job.pool or ''} end

  -- About when it starts: the tenants' clocks say who is served before. Until this job's turn its tenant uses `own` slot-ms, which moves
  -- its clock to `turn`. A tenant whose clock is behind that is served until it is there too, or has no jobs left. Of many such tenants a
  -- sample is looked at.
  local limits, several = limits_of(tenant), (known[3] or '') ~= ''
  local takes, sample = estimate(job), 30
  local own = ahead * takes
  local turn = share_of(tenant).time + own / limits.weight
  local others, looked_at = 0, 0
  -- Where there are several pools, its jobs that wait in this one are counted in its lanes; those in many lanes count for what these have.
  local function waiting_of(other)
    if not several then return redis.call('ZCARD', K.tenant_status(other, 'queued')) - redis.call('ZCARD', K.tenant_awaiting(other)) end
    local n = 0
    for _, place in ipairs(redis.call('ZRANGE', K.workspaces(other), 0, 9)) do
      for _, pipeline in ipairs(redis.call('ZRANGE', K.lanes(other, place), 0, 9)) do n = n + redis.call('ZCARD', K.ready(other, place, pipeline)) end
    end
    return n
  end
  for _, other in ipairs(redis.call('ZRANGEBYSCORE', K.ring(), '-inf', turn, 'LIMIT', 0, sample)) do
    looked_at = looked_at + 1
    if other ~= tenant then
      local theirs = math.max(0, waiting_of(other)) * estimate({tenant_id = other, pipeline = job.pipeline})
      others = others + math.min(theirs, limits_of(other).weight * math.max(0, turn - share_of(other).time))
    end
  end
  if looked_at == sample then others = others * redis.call('ZCOUNT', K.ring(), '-inf', turn) / sample end
  local function seconds_left()
    local pipe = pipe_of(job.pipeline)
    -- A job that runs now must end first, too: a slot becomes free after about one part in `slots` of a run.
    local ms = (own + others + (usual_ms(job.pipeline) or takes)) / slots
    local most = reason == 'tenant_concurrency' and tonumber(limit) or limits.max_concurrent
    if most then ms = math.max(ms, most > 0 and (own + takes) / most or 1e15) end
    if limits.start_rate then ms = math.max(ms, limits.start_rate > 0 and ahead / limits.start_rate * 1000 or 1e15) end
    if pipe.cap then ms = math.max(ms, pipe.cap > 0 and (own + takes) * (1 + redis.call('ZCARD', K.blocked(job.pipeline))) / pipe.cap or 1e15) end
    return ms < 1e12 and string.format('%.1f', ms / 1000) or ''
  end
  return {reason, int(ahead + 1), limit, current, seconds_left(), job.pool or ''}
end
