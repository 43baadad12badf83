#!lua flags=no-writes
-- Why queued jobs wait, counted for metrics, and since when the first of those waits that no limit of its tenant or pipeline holds back.
--@settings admits
--@reply now reasons since whole pools
-- now: the server's clock in ms. reasons: reason, number, ...; their sum is all queued jobs, and parts of jobs, which wait for slots as
-- those do. `parts`: jobs that wait for their parts. `scheduled`: until a point in time, a retry's
-- backoff among them. `signal`: parked. since: ms; '' where nothing waits so. whole: '' if there was too much to look at: what is held back
-- beyond that counts as `fair_share`. pools: of each pool besides `default` its name, reasons (of the jobs that wait for a slot or have a
-- hint) and since, which the others have in them.

local queued, ready = redis.call('ZCARD', K.status('queued')), redis.call('ZCARD', K.ready_since())
local delayed, parked = redis.call('ZCARD', K.delayed()), redis.call('ZCARD', K.awaiting())
-- Where no job waits for parts there are none.
local split = delayed > parked and redis.call('ZCARD', K.splitting()) or 0
if split > 0 then queued = queued + redis.call('ZCARD', K.status('part_queued')) end
local counts = {scheduled = math.max(0, delayed - parked - split), signal = math.min(delayed, parked), dispatched = 0, parts = split}
counts.dependency = math.max(0, queued - ready - delayed)
local rest = math.max(0, queued - delayed - counts.dependency)

local function held(why, n)
  n = math.min(n, rest)
  counts[why], rest = (counts[why] or 0) + n, rest - n
  if POOL ~= '' then here.counts[why] = (here.counts[why] or 0) + n end
end

-- What an idle slot of the pool could run waits for its turn, or for a worker.
local function may_start() return live_slots() > 0 and 'fair_share' or POOL == '' and 'no_worker' or 'no_worker_for_pool' end

-- Why a pipeline's jobs may not start, whoever's they are.
local function why_not(pipeline)
  if pipeline_full(pipeline) then return 'pipeline_concurrency' end
  if live_slots() > 0 and slots_for(pipeline, 'slots') == 0 then return 'no_worker_for_pipeline' end
end

local names, some_full = redis.call('HKEYS', K.pipelines()), false

-- A tenant is taken out of the ring as its turn comes, not as it reaches its limit: so those in the ring are looked at, too. In other pools
-- than `default` each job is counted: what is left are those of `default`.
local function look_at(tenants)
  for _, tenant in ipairs(tenants) do
    if worked_enough() then return end
    spend(2)
    -- One whose limit is gone may still be noted as waiting, and be in the ring.
    local twice = here.looked_at[tenant]
    here.looked_at[tenant] = true
    local why = held_back(tenant)
    for _, workspace in ipairs(not twice and (why or some_full or POOL ~= '') and redis.call('ZRANGE', K.workspaces(tenant), 0, -1) or {}) do
      spend(2)
      for _, pipeline in ipairs(redis.call('ZRANGE', K.lanes(tenant, workspace), 0, -1)) do
        local reason = why or why_not(pipeline) or POOL ~= '' and may_start()
        if reason then held(reason, redis.call('ZCARD', K.ready(tenant, workspace, pipeline))) end
      end
    end
  end
end
local function look_at_pool()
  here.counts, here.looked_at = {}, {}
  held('dispatched', redis.call('ZCARD', K.hints()))
  some_full = false
  for _, field in ipairs(names) do
    local pipeline = string.match(field, '^n:(.*)$')
    some_full = some_full or (pipeline and why_not(pipeline) ~= nil)
  end
  look_at(redis.call('SMEMBERS', K.waiting()))
  look_at(redis.call('ZRANGE', K.ring(), 0, WORK_MOST))
  for _, pipeline in ipairs(redis.call('SMEMBERS', K.blocking())) do
    local why = why_not(pipeline)
    for _, place in ipairs(why and redis.call('ZRANGE', K.blocked(pipeline), 0, WORK_MOST) or {}) do
      if worked_enough() then break end
      spend(1)
      local tenant, workspace = string.match(place, '^([^:]*):(.*)$')
      -- One that has come back for another pipeline was counted with its tenant.
      if not redis.call('ZSCORE', K.workspaces(tenant), workspace) then
        held(why, redis.call('ZCARD', K.ready(tenant, workspace, pipeline)))
      end
    end
  end
end
-- What is not counted any more passes for jobs of `default`: so that one comes last.
for name in string.gmatch(other_pools(), '%S+') do
  use_pool(':' .. name)
  look_at_pool()
end
use_pool('')
look_at_pool()
local whole = not worked_enough()
held(may_start(), rest)

-- The oldest jobs may all be of a tenant that is paused. Then those that are next in the lanes of the ring are looked at.
local since
local oldest = redis.call('ZRANGE', K.ready_since(), 0, 199, 'WITHSCORES')
for i = 1, #oldest, 2 do
  local job = redis.call('HMGET', K.job(oldest[i]), 'tenant_id', 'pipeline', 'pool')
  if job[1] and job[2] and not held_back(job[1]) and not pipeline_full(job[2]) then
    since = since or tonumber(oldest[i + 1])
    if other_pools() == '' then break end
    use_pool(pool_of({pool = job[3] or nil}))
    here.since = here.since or tonumber(oldest[i + 1])
    use_pool('')
  end
end
local function first_of_ring()
  local first
  for _, tenant in ipairs(redis.call('ZRANGE', K.ring(), 0, 49)) do
    for _, workspace in ipairs(redis.call('ZRANGE', K.workspaces(tenant), 0, 4)) do
      for _, pipeline in ipairs(redis.call('ZRANGE', K.lanes(tenant, workspace), 0, 4)) do
        local member = redis.call('ZRANGE', K.ready(tenant, workspace, pipeline), 0, 0)[1]
        local at = member and redis.call('ZSCORE', K.ready_since(), string.sub(member, 18))
        if at and not pipeline_full(pipeline) then first = math.min(first or tonumber(at), tonumber(at)) end
      end
    end
  end
  return first
end
if #oldest == 400 then
  since = since or first_of_ring()
  in_each_pool(function() if other_pools() ~= '' then here.since = here.since or first_of_ring() end end)
end
local function flat(numbers)
  local reasons = {}
  for reason, n in pairs(numbers) do
    reasons[#reasons + 1] = reason
    reasons[#reasons + 1] = int(n)
  end
  return reasons
end
local pools = {{'', {}, here.since and int(here.since) or ''}}
in_each_pool(function()
  if POOL ~= '' then pools[#pools + 1] = {string.sub(POOL, 2), flat(here.counts), here.since and int(here.since) or ''} end
end)
return {int(NOW), flat(counts), since and int(since) or '', whole and '1' or '', pools}
