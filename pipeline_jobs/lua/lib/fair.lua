-- Fair shares: whose turn it is (docs/fairness.md).
--
-- Two rings of virtual time, tenants and the workspaces of a tenant, each a zset that holds only those who can be served now. The lowest time
-- is next. A dispatch is charged with the pipeline's usual run time divided by the tenant's weight, a run that takes longer is charged as it
-- goes, and its end puts the charge right. Who comes (back) starts at the present, not at his old time: being idle saves up no credit.
-- A tenant at a limit is outside the ring until an event brings it back, so it costs nothing and holds nobody up.

local LIMITS = {'weight', 'max_concurrent', 'start_rate', 'paused', 'max_queued', 'submit_rate', 'max_storage_bytes'}

-- A tenant's limits with the cell's defaults behind them; numbers, nil where there is none. Read once a script.
local seen = {}
local function limits_of(tenant)
  if seen[tenant] then return seen[tenant] end
  local own = redis.call('HMGET', K.limits(tenant), unpack(LIMITS))
  local default
  local limits = {}
  for i, name in ipairs(LIMITS) do
    local value = own[i]
    if not value then
      default = default or redis.call('HMGET', K.limits('*'), unpack(LIMITS))
      value = default[i]
    end
    limits[name] = value and tonumber(value) or nil
  end
  limits.weight = limits.weight or 1
  seen[tenant] = limits
  return limits
end

-- Tokens of a bucket that fills at `rate` a second and holds a second's worth (at least one).
local function tokens(key, rate)
  local known = redis.call('HMGET', key, 'tokens', 'tokens_at')
  local burst = math.max(1, rate)
  if not known[1] then return burst end
  return math.min(burst, tonumber(known[1]) + (NOW - tonumber(known[2])) / 1000 * rate)
end

local function take_token(key, rate)
  redis.call('HSET', key, 'tokens', string.format('%.6f', tokens(key, rate) - 1), 'tokens_at', int(NOW))
end

-- Why a tenant may not start a job now: nil, 'tenant_paused', 'tenant_concurrency', 'tenant_rate' (and then in how many ms it may).
local function held_back(tenant, limits)
  if limits.paused and limits.paused ~= 0 then return 'tenant_paused' end
  if limits.max_concurrent and tonumber(redis.call('HGET', K.share(tenant), 'n') or '0') >= limits.max_concurrent then return 'tenant_concurrency' end
  if limits.start_rate then
    local have = tokens(K.share(tenant), limits.start_rate)
    if have < 1 then
      if limits.start_rate <= 0 then return 'tenant_rate', 3600000 end
      return 'tenant_rate', math.ceil((1 - have) / limits.start_rate * 1000)
    end
  end
end

local function time_of(tenant, field) return tonumber(redis.call('HGET', K.share(tenant), field) or '0') end

local function set_time(tenant, field, value) redis.call('HSET', K.share(tenant), field, string.format('%.3f', value)) end

-- Put a tenant that has eligible workspaces into the ring, if nothing holds it back.
local function enter_ring(tenant)
  if redis.call('ZSCORE', K.ring(), tenant) or redis.call('EXISTS', K.workspaces(tenant)) == 0 then return end
  local why, wait = held_back(tenant, limits_of(tenant))
  if why == 'tenant_rate' then redis.call('ZADD', K.parked(), int(NOW + wait), tenant) end
  if why then
    redis.call('SADD', K.waiting(), tenant)
    return
  end
  redis.call('SREM', K.waiting(), tenant)
  -- Of those that come at the same time the first one is first: by a part of a ms, so that it does not count for a share.
  local turn = redis.call('INCR', K.entries()) % 1000 / 1000
  local time = math.max(time_of(tenant, 'time'), tonumber(redis.call('GET', K.present()) or '0') + turn)
  set_time(tenant, 'time', time)
  redis.call('ZADD', K.ring(), string.format('%.3f', time), tenant)
end

local function enter(tenant, workspace)
  if not redis.call('ZSCORE', K.workspaces(tenant), workspace) then
    local time = math.max(time_of(tenant, 'w:' .. workspace), time_of(tenant, 'present'))
    redis.call('ZADD', K.workspaces(tenant), string.format('%.3f', time), workspace)
  end
  enter_ring(tenant)
end

local function leave_ring_if_empty(tenant)
  if redis.call('EXISTS', K.workspaces(tenant)) == 0 then redis.call('ZREM', K.ring(), tenant) end
end

-- Equal scores sort by member: priority first, then order.
local function ready_member(id, job) return string.format('%016.0f', tonumber(job.order)) .. ':' .. id end

local function make_ready(id, job)
  redis.call('ZADD', K.ready(job.tenant_id, job.workspace_id, job.pipeline), -tonumber(job.priority or '0'), ready_member(id, job))
  redis.call('SADD', K.lanes(job.tenant_id, job.workspace_id), job.pipeline)
  enter(job.tenant_id, job.workspace_id)
end

-- A lane (a pipeline of a workspace) that ran empty goes, and with the last one its workspace, and with the last one its tenant from the ring.
local function tidy(tenant, workspace, pipeline)
  if redis.call('EXISTS', K.ready(tenant, workspace, pipeline)) == 1 then return end
  redis.call('SREM', K.lanes(tenant, workspace), pipeline)
  if redis.call('EXISTS', K.lanes(tenant, workspace)) == 1 then return end
  redis.call('ZREM', K.workspaces(tenant), workspace)
  leave_ring_if_empty(tenant)
end

local function take_ready(id, job)
  redis.call('ZREM', K.ready(job.tenant_id, job.workspace_id, job.pipeline), ready_member(id, job))
  tidy(job.tenant_id, job.workspace_id, job.pipeline)
end

-- Move the virtual times of a job's tenant and workspace by so many slot-ms (negative: too much was charged).
local function charge(job, ms)
  local tenant, workspace = job.tenant_id, job.workspace_id
  local weight = limits_of(tenant).weight
  local time = time_of(tenant, 'time') + ms / weight
  set_time(tenant, 'time', time)
  redis.call('ZADD', K.ring(), 'XX', string.format('%.3f', time), tenant)
  local own = time_of(tenant, 'w:' .. workspace) + ms
  set_time(tenant, 'w:' .. workspace, own)
  redis.call('ZADD', K.workspaces(tenant), 'XX', string.format('%.3f', own), workspace)
end

-- What a run of a pipeline usually takes, in ms: a moving average, 1 s before anything is known.
local function estimate(pipeline) return tonumber(redis.call('HGET', K.estimates(), pipeline) or '1000') end

local function learn(pipeline, ms)
  local before = redis.call('HGET', K.estimates(), pipeline)
  redis.call('HSET', K.estimates(), pipeline, int(before and tonumber(before) * 0.9 + ms * 0.1 or ms))
end

local function pipeline_full(pipeline)
  local cap = redis.call('HGET', K.pipeline_caps(), pipeline)
  return cap and tonumber(redis.call('HGET', K.pipeline_slots(), pipeline) or '0') >= tonumber(cap)
end

-- Of the workspaces that wait for a pipeline those with the lowest times come back, as many as it has room for.
local function unblock(pipeline)
  local cap = redis.call('HGET', K.pipeline_caps(), pipeline)
  local room = cap and tonumber(cap) - tonumber(redis.call('HGET', K.pipeline_slots(), pipeline) or '0') or 1e9
  while room > 0 do
    local first = redis.call('ZPOPMIN', K.blocked(pipeline))
    if not first[1] then return end
    local tenant, workspace = string.match(first[1], '^([^:]*):(.*)$')
    if redis.call('EXISTS', K.lanes(tenant, workspace)) == 1 then
      enter(tenant, workspace)
      -- One whose tenant is held back takes no room from the next.
      if redis.call('ZSCORE', K.ring(), tenant) then room = room - 1 end
    end
  end
end

-- A slot was taken by this job: counted for its tenant and its pipeline, charged with the estimate.
local function slot_taken(id, job)
  local expected = estimate(job.pipeline)
  redis.call('HSET', K.job(id), 'charged', int(expected))
  redis.call('HINCRBY', K.share(job.tenant_id), 'n', 1)
  redis.call('HINCRBY', K.pipeline_slots(), job.pipeline, 1)
  charge(job, expected)
end

-- Charged at least for a run: a slot is busy with a job that takes no time too, and whoever sends such jobs would be served for ever.
local LEAST_MS = 5

-- How long a run has lived, in ms. Of one whose worker died it is known until when (`ran_until`); the time it lay dead is nobody's.
local function used_ms(job)
  return job.status == 'running' and math.max(0, (job.ran_until or NOW) - tonumber(job.started_at)) or 0
end

-- Its slot is free again: the charge is put right, and whom it held up may come back.
local function slot_freed(id, job)
  local used = 0
  if job.status == 'running' then used = math.max(LEAST_MS, used_ms(job)) end
  charge(job, used - tonumber(redis.call('HGET', K.job(id), 'charged') or '0'))
  redis.call('HDEL', K.job(id), 'charged')
  if redis.call('HINCRBY', K.share(job.tenant_id), 'n', -1) <= 0 then redis.call('HDEL', K.share(job.tenant_id), 'n') end
  if redis.call('HINCRBY', K.pipeline_slots(), job.pipeline, -1) <= 0 then redis.call('HDEL', K.pipeline_slots(), job.pipeline) end
  enter_ring(job.tenant_id)
  unblock(job.pipeline)
end

-- A run that takes longer than it was charged for is charged on: in doubling steps, so that it costs few writes.
local function charge_running(id, job)
  local used = NOW - tonumber(job.started_at)
  local charged = tonumber(redis.call('HGET', K.job(id), 'charged') or '0')
  if used > charged then
    charge(job, 2 * used - charged)
    redis.call('HSET', K.job(id), 'charged', int(2 * used))
  end
end

-- The best job of a workspace: over its lanes by priority, then order. Lanes whose pipeline is full are passed over.
-- Returns member, pipeline | nil, a pipeline that is full.
local function best_of(tenant, workspace)
  local best, score, of, full
  for _, pipeline in ipairs(redis.call('SMEMBERS', K.lanes(tenant, workspace))) do
    if pipeline_full(pipeline) then
      full = pipeline
    else
      local first = redis.call('ZRANGE', K.ready(tenant, workspace, pipeline), 0, 0, 'WITHSCORES')
      if first[1] and (not best or tonumber(first[2]) < score or (tonumber(first[2]) == score and first[1] < best)) then
        best, score, of = first[1], tonumber(first[2]), pipeline
      end
    end
  end
  return best, best and of or full
end

-- Take the job whose turn it is out of its lane. Returns its id, or nil when nobody is eligible.
local function next_job()
  while true do
    local first = redis.call('ZRANGE', K.ring(), 0, 0, 'WITHSCORES')
    local tenant = first[1]
    if not tenant then return nil end
    local limits = limits_of(tenant)
    local why, wait = held_back(tenant, limits)
    local workspace = redis.call('ZRANGE', K.workspaces(tenant), 0, 0, 'WITHSCORES')
    if why or not workspace[1] then
      redis.call('ZREM', K.ring(), tenant)
      if why then redis.call('SADD', K.waiting(), tenant) end
      if why == 'tenant_rate' then redis.call('ZADD', K.parked(), int(NOW + wait), tenant) end
    else
      local member, pipeline = best_of(tenant, workspace[1])
      if member then
        redis.call('ZREM', K.ready(tenant, workspace[1], pipeline), member)
        if tonumber(first[2]) > tonumber(redis.call('GET', K.present()) or '0') then redis.call('SET', K.present(), first[2]) end
        redis.call('HSET', K.share(tenant), 'time', first[2], 'w:' .. workspace[1], workspace[2], 'present', workspace[2])
        if limits.start_rate then take_token(K.share(tenant), limits.start_rate) end
        tidy(tenant, workspace[1], pipeline)
        return string.sub(member, 18)
      end
      -- Every lane of it waits for a pipeline that is full (or is empty, which tidy should have seen).
      redis.call('ZREM', K.workspaces(tenant), workspace[1])
      leave_ring_if_empty(tenant)
      if pipeline then redis.call('ZADD', K.blocked(pipeline), first[2], tenant .. ':' .. workspace[1]) end
    end
  end
end

-- Jobs whose time has come and tenants whose rate lets them start again.
local function wake()
  for _, id in ipairs(redis.call('ZRANGEBYSCORE', K.delayed(), '-inf', int(NOW), 'LIMIT', 0, 100)) do
    redis.call('ZREM', K.delayed(), id)
    local job = load(id)
    if job and job.status == 'queued' then
      redis.call('HSET', K.job(id), 'reason', 'fair_share')
      make_ready(id, job)
    end
  end
  for _, tenant in ipairs(redis.call('ZRANGEBYSCORE', K.parked(), '-inf', int(NOW), 'LIMIT', 0, 100)) do
    redis.call('ZREM', K.parked(), tenant)
    enter_ring(tenant)
  end
  -- Who was let back for a pipeline may have started a job of another one instead: ask again for those who still wait.
  for _, pipeline in ipairs(redis.call('HKEYS', K.pipeline_caps())) do unblock(pipeline) end
end
