-- Fair shares: whose turn it is (docs/fairness.md).
--
-- Two rings of virtual time, tenants and the workspaces of a tenant, each a zset that holds only those who can be served now. The lowest time
-- is next; before all times are newcomers, and before them jobs that were lost with their worker. A dispatch is charged with the pipeline's usual run time divided by the tenant's weight, a run that takes longer is charged as it
-- goes, and its end puts the charge right. Who comes (back) starts at the present, not at his old time: being idle saves up no credit.
-- A tenant at a limit is outside the ring until an event brings it back, so it costs nothing and holds nobody up.

-- Why a tenant may not start a job now: nil, 'tenant_paused', 'tenant_concurrency', 'tenant_rate' (and then in how many ms it may).
local function held_back(tenant)
  local limits = limits_of(tenant)
  if limits.paused and limits.paused ~= 0 then return 'tenant_paused' end
  if limits.max_concurrent and share_of(tenant).n >= limits.max_concurrent then return 'tenant_concurrency' end
  if limits.start_rate then
    local share = share_of(tenant)
    local have = tokens(share.tokens, share.tokens_at, limits.start_rate)
    if have < 1 then
      if limits.start_rate <= 0 then return 'tenant_rate', 3600000 end
      return 'tenant_rate', math.min(math.ceil((1 - have) / limits.start_rate * 1000), 3600000)
    end
  end
end

-- The virtual time of the last dispatch, and the highest of all dispatches: a run that took less than it was charged with puts its tenant's
-- clock back, and the next dispatches may be below one that was.
local PRESENT, PEAK
local function present()
  if not PRESENT then
    local known = redis.call('MGET', K.present(), K.peak())
    PRESENT, PEAK = tonumber(known[1]) or 0, tonumber(known[2]) or 0
  end
  return PRESENT
end

-- Newcomers stand in the ring from this score on, below every clock, in the order in which they came.
local NEWCOMERS = -1e15

-- Put a tenant that has eligible workspaces into the ring, if nothing holds it back.
local function enter_ring(tenant)
  if redis.call('ZSCORE', K.ring(), tenant) or redis.call('EXISTS', K.workspaces(tenant)) == 0 then return end
  local why, wait = held_back(tenant)
  if why == 'tenant_rate' then redis.call('ZADD', K.parked(), NOW + wait, tenant) end
  if why then
    redis.call('SADD', K.waiting(), tenant)
    return
  end
  redis.call('SREM', K.waiting(), tenant)
  local entry = redis.call('INCR', K.entries())
  local share, now = share_of(tenant), present()
  -- Who was idle is next, whatever the others' clocks are put back to meanwhile. But only with its first job: that is charged on top of the peak,
  -- where all have been, or whoever comes now would gain what another was charged too much. Until then it stays a newcomer, also if it has to
  -- leave the ring. Of those that come at the same time the first one is first: by a hundredth of a ms at most, which counts for no share.
  local newcomer = share.time <= now or share.time == share.came
  share.time = math.max(share.time, PEAK + entry % 100000 / 1e7)
  if newcomer then share.came = share.time end
  redis.call('HSET', K.share(tenant), 'time', share.time, 'came', share.came)
  redis.call('ZADD', K.ring(), newcomer and NEWCOMERS + entry or share.time, tenant)
end

-- Whether this script made somebody eligible. If it did not, and freed no slot, the admission before it has left nothing to be done.
local ENTERED = false
local function enter(tenant, workspace)
  ENTERED = true
  local share, own = share_of(tenant, workspace), 'w:' .. workspace
  local time = math.max(share[own], share.present)
  if redis.call('ZADD', K.workspaces(tenant), 'NX', time, workspace) == 1 and time > share[own] then
    share[own] = time
    redis.call('HSET', K.share(tenant), own, time)
  end
  enter_ring(tenant)
end

local function leave_ring_if_empty(tenant)
  if redis.call('EXISTS', K.workspaces(tenant)) == 0 then redis.call('ZREM', K.ring(), tenant) end
end

-- Equal scores sort by member: priority first, then order.
local function ready_member(id, job)
  local order = job.order
  if #order < 16 then order = string.rep('0', 16 - #order) .. order end
  return order .. ':' .. id
end

local function make_ready(id, job)
  -- A hint that was taken back has been waiting all the time.
  redis.call('ZADD', K.ready_since(), 'NX', int(NOW), id)
  redis.call('ZADD', K.ready(job.tenant_id, job.workspace_id, job.pipeline), -tonumber(job.priority or '0'), ready_member(id, job))
  -- A job behind others of its lane changes nothing about who is eligible.
  if redis.call('ZADD', K.lanes(job.tenant_id, job.workspace_id), 0, job.pipeline) == 1 then enter(job.tenant_id, job.workspace_id) end
end

-- A lane (a pipeline of a workspace) that ran empty goes, and with the last one its workspace, and with the last one its tenant from the ring.
local function drop_lane(tenant, workspace, pipeline)
  redis.call('ZREM', K.lanes(tenant, workspace), pipeline)
  if redis.call('EXISTS', K.lanes(tenant, workspace)) == 1 then return end
  redis.call('ZREM', K.workspaces(tenant), workspace)
  leave_ring_if_empty(tenant)
end

-- Returns whether it was in its lane.
local function take_ready(id, job)
  local lane = K.ready(job.tenant_id, job.workspace_id, job.pipeline)
  local was_there = redis.call('ZREM', lane, ready_member(id, job)) == 1
  if redis.call('EXISTS', lane) == 0 then drop_lane(job.tenant_id, job.workspace_id, job.pipeline) end
  return was_there
end

-- Move the virtual times of a job's tenant and workspace by so many slot-ms (negative: too much was charged) and its slots by so many; the
-- rest are other fields of its share that changed. Returns whether the tenant is known to be in the ring.
local function charge(job, ms, slots, ...)
  local tenant, workspace = job.tenant_id, job.workspace_id
  local share, own = share_of(tenant, workspace), 'w:' .. workspace
  local time, at = share.time + ms / limits_of(tenant).weight, share[own] + ms
  if job.ran_until then
    -- A refund (its worker died) takes away what it would have to wait for and no more: others would stand back for it as long as it ran.
    time, at = math.max(time, math.min(share.time, present())), math.max(at, math.min(share[own], share.present))
  end
  -- Who was dispatched is a newcomer no more. What its earlier jobs used is no dispatch: it keeps its place.
  local newcomer = share.time == share.came and slots <= 0
  if newcomer then share.came = time end
  share.time, share[own], share.n = time, at, math.max(0, share.n + slots)
  redis.call('HSET', K.share(tenant), 'time', time, 'came', share.came, own, at, 'n', share.n, ...)
  redis.call('ZADD', K.workspaces(tenant), 'XX', at, workspace)
  return not newcomer and redis.call('ZADD', K.ring(), 'XX', 'CH', time, tenant) == 1
end

-- Of the workspaces that wait for a pipeline those with the lowest times come back, as many as it has room for.
local function unblock(pipeline)
  local room = room_of(pipeline)
  while room > 0 and not worked_enough() do
    spend(5)
    local first = redis.call('ZPOPMIN', K.blocked(pipeline))
    if not first[1] then
      redis.call('SREM', K.blocking(), pipeline)
      return
    end
    local tenant, workspace = string.match(first[1], '^([^:]*):(.*)$')
    -- It may wait for other pipelines still, with no job of this one left.
    if redis.call('ZSCORE', K.lanes(tenant, workspace), pipeline) then
      enter(tenant, workspace)
      -- One whose tenant is held back takes no room from the next.
      if redis.call('ZSCORE', K.ring(), tenant) then room = room - 1 end
    end
  end
end

-- Whoever was let back for a pipeline may not use its room: it started a job of another one, its job was cancelled, or its tenant is at a limit
-- by now. So before a slot stays free those who still wait are asked. Returns whether there were any.
local function ask_blocked()
  local asked = false
  for _, pipeline in ipairs(redis.call('SMEMBERS', K.blocking())) do
    if room_of(pipeline) > 0 then
      unblock(pipeline)
      asked = true
    end
  end
  return asked
end

-- Of moving averages: the part of the newest.
local NEWEST = 0.1
local function average(before, newest) return before and before * (1 - NEWEST) + newest * NEWEST or newest end

-- What a run of a job is going to take, in ms: as its tenant's runs of this pipeline, else as everybody's, else 1 s.
local function estimate(job)
  return share_of(job.tenant_id, job.workspace_id, job.pipeline)['ms:' .. job.pipeline] or pipe_of(job.pipeline).ms or 1000
end

-- A clock is never further ahead of what its slots have used than so much for each of them. A newcomer's second job waits for the others' clocks:
-- what they were charged too much, by a wrong estimate or for the time to come, it waits without anybody using it.
local AHEAD_MS = 5000

-- This job may start: it is a hint and takes a slot, which is charged with the estimate. The rest are other fields of its tenant's share
-- that changed.
local function dispatched(id, job, fence, ...)
  local pipe = pipe_of(job.pipeline)
  local expected = math.min(estimate(job), AHEAD_MS)
  pipe.n = pipe.n + 1
  redis.call('HSET', K.job(id), 'fence', fence, 'reason', 'dispatched', 'charged', int(expected))
  redis.call('ZADD', K.hints(), NOW + HINT_MS, id)
  redis.call('HSET', K.pipelines(), 'n:' .. job.pipeline, pipe.n)
  charge(job, expected, 1, ...)
end

-- Charged at least for a run: a slot is busy with a job that takes no time too, and whoever sends such jobs would be served for ever.
local LEAST_MS = 5

-- How long a run has lived, in ms. Of one whose worker died it is known until when (`ran_until`); the time it lay dead is nobody's.
local function used_ms(job)
  return job.status == 'running' and math.max(0, (job.ran_until or NOW) - tonumber(job.started_at)) or 0
end

-- What a job that leaves its slot had of it, in ms. A dispatch that its tenant took back was one, or who submits and cancels would be served
-- for ever; a hint that was lost and a run that was lost with its worker were nothing.
local function worth_ms(job)
  if job.ran_until then return 0 end
  if job.status == 'running' or job.taken_back then return math.max(LEAST_MS, used_ms(job)) end
  return 0
end

-- Its slot is free again: the charge is put right, and whom it held up may come back. `to` is what the job ends as, if it ends.
local function slot_freed(id, job, to, ...)
  local used, pipe = worth_ms(job), pipe_of(job.pipeline)
  pipe.n = math.max(0, pipe.n - 1)
  local correction, in_ring = used - tonumber(job.charged or '0')
  -- Charged for time to come it was at most so much. If it seems to be more, the server's clock was set back, and others would stand back for that.
  if not job.ran_until then correction = math.max(correction, -AHEAD_MS) end
  if to == 'completed' then
    local share, takes = share_of(job.tenant_id, job.workspace_id, job.pipeline), 'ms:' .. job.pipeline
    pipe.ms, share[takes] = average(pipe.ms, used), average(share[takes], used)
    redis.call('HSET', K.pipelines(), 'n:' .. job.pipeline, pipe.n, takes, pipe.ms)
    in_ring = charge(job, correction, -1, takes, share[takes], ...)
  else
    redis.call('HSET', K.pipelines(), 'n:' .. job.pipeline, pipe.n)
    in_ring = charge(job, correction, -1, ...)
  end
  if not in_ring then enter_ring(job.tenant_id) end
  if pipe.cap then unblock(job.pipeline) end
end

-- A run that takes longer than it was charged for is charged on: in doubling steps up to `AHEAD_MS`, so that it costs few writes.
local function charge_running(id, job)
  local used = NOW - tonumber(job.started_at)
  local charged = tonumber(job.charged or '0')
  if used > charged then
    local more = math.min(2 * used, used + AHEAD_MS)
    charge(job, more - charged, 0)
    job.charged = int(more)
    redis.call('HSET', K.job(id), 'charged', job.charged)
  end
end

-- The best job of a workspace: over its lanes by priority, then order. Lanes whose pipeline is full are passed over: at its cap, or no free
-- slot is of a worker that knows it.
-- Returns member, its pipeline, whether it is the last of its lane | nil, the pipelines that are full.
local function best_of(tenant, workspace)
  local best, score, of, last
  local full = {}
  for _, pipeline in ipairs(redis.call('ZRANGE', K.lanes(tenant, workspace), 0, -1)) do
    if room_of(pipeline) <= 0 then
      full[#full + 1] = pipeline
    else
      local first = redis.call('ZRANGE', K.ready(tenant, workspace, pipeline), 0, 1, 'WITHSCORES')
      if not first[1] then
        -- Lost with the server's data or by hand: the jobs that reconciling puts back shall find no trace of the lane.
        redis.call('ZREM', K.lanes(tenant, workspace), pipeline)
      elseif not best or tonumber(first[2]) < score or (tonumber(first[2]) == score and first[1] < best) then
        best, score, of, last = first[1], tonumber(first[2]), pipeline, not first[3]
      end
    end
  end
  if best then return best, of, last end
  return nil, full
end

-- A start takes a token, if its tenant has a rate. Returns the fields of the share that changed, after those that are given.
local function take_token(tenant, ...)
  local rate, share = limits_of(tenant).start_rate, share_of(tenant)
  if not rate then return {...} end
  share.tokens, share.tokens_at = tokens(share.tokens, share.tokens_at, rate) - 1, NOW
  return {'tokens', share.tokens, 'tokens_at', int(NOW), ...}
end

-- Jobs that were lost with their worker had their turn. One whose tenant or pipeline is at a limit has the next place of its lane again; one for
-- which no slot is free of a worker that knows it stays the next for that slot. Returns as next_job.
local LOST_MOST = 50
local function next_lost()
  local dropped
  repeat
    dropped = false
    for _, member in ipairs(redis.call('ZRANGE', K.lost(), 0, LOST_MOST - 1)) do
      local id, pipeline = string.match(member, '^(%S+) (%S+)$')
      if slots_for(pipeline, 'free') > 0 then
        redis.call('ZREM', K.lost(), member)
        local job = load(id)
        if job and job.status == 'queued' and not held_back(job.tenant_id) and room_of(job.pipeline) > 0 and take_ready(id, job) then
          return id, job, take_token(job.tenant_id)
        end
        dropped = true
        spend(5)
      end
    end
  until not dropped or worked_enough()
end

-- Take the job whose turn it is out of its lane. Returns nil when nobody is eligible, else its id, where it comes from (as of a job), and the
-- fields of its tenant's share that changed.
local function next_job()
  while not worked_enough() do
    local first = redis.call('ZRANGE', K.ring(), 0, 0, 'WITHSCORES')
    local tenant = first[1]
    if not tenant then return nil end
    local place = redis.call('ZRANGE', K.workspaces(tenant), 0, 0, 'WITHSCORES')
    local workspace = place[1]
    local why, wait = held_back(tenant)
    if why or not workspace then
      spend(8)
      redis.call('ZREM', K.ring(), tenant)
      if why then redis.call('SADD', K.waiting(), tenant) end
      if why == 'tenant_rate' then redis.call('ZADD', K.parked(), NOW + wait, tenant) end
    else
      local member, pipeline, last = best_of(tenant, workspace)
      if member then
        redis.call('ZREM', K.ready(tenant, workspace, pipeline), member)
        if last then drop_lane(tenant, workspace, pipeline) end
        local now = tonumber(first[2])
        if now > NEWCOMERS / 2 and now ~= present() then
          PRESENT, PEAK = now, math.max(now, PEAK)
          redis.call('MSET', K.present(), first[2], K.peak(), PEAK)
        end
        local share = share_of(tenant, workspace, pipeline)
        share.present = tonumber(place[2])
        return string.sub(member, 18), {tenant_id = tenant, workspace_id = workspace, pipeline = pipeline}, take_token(tenant, 'present', place[2])
      end
      -- Every lane of it waits for a pipeline that is full (or was empty): the first that has room brings it back.
      spend(10)
      redis.call('ZREM', K.workspaces(tenant), workspace)
      leave_ring_if_empty(tenant)
      for _, full in ipairs(pipeline) do
        redis.call('ZADD', K.blocked(full), first[2], tenant .. ':' .. workspace)
        redis.call('SADD', K.blocking(), full)
      end
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
  -- Those of a pipeline that has room again, or whose cap was taken away, and that were too many for that script; and those for which a worker
  -- came that knows them.
  ask_blocked()
end
