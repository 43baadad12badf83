#!lua flags=allow-oom
-- Repair what should never be wrong: queued and running jobs that are in no queue. Looks at a page of at most this many jobs, or fewer if
-- they are much work; it continues where the last page ended, whoever asked for that one.
--@args limit:int
--@settings events admits names kept
--@reply looked_at jobs counters more hints
-- jobs, counters: how many were repaired. more: 1, or 0: this was the last page.
local counters, jobs = 0, 0

-- Tenants that have a hinted job in this pool. There are never more hints than slots.
local function hinted_tenants()
  if here.hinted then return here.hinted end
  local by_hint = {}
  here.hinted = by_hint
  for _, id in ipairs(redis.call('ZRANGE', K.hints(), 0, -1)) do
    by_hint[redis.call('HGET', K.job(id), 'tenant_id') or ''] = true
    spend(1)
  end
  return by_hint
end

-- Whether a job of a tenant (part_running: a part) runs in this pool. Where it has very many they are taken to run in each.
local function runs_here(tenant, status)
  local key = K.tenant_status(tenant, status)
  if other_pools() == '' then return redis.call('EXISTS', key) == 1 end
  local running = redis.call('ZRANGE', key, 0, 99)
  if running[100] then return true end
  for _, id in ipairs(running) do
    spend(1)
    if pool_of({pool = redis.call('HGET', K.job(id), 'pool') or nil}) == POOL then return true end
  end
  return false
end

-- Whether a tenant has slots and whether it is in the ring, looked up once a page. Slots that no job has are taken back.
local function tenant_of(tenant)
  here.known = here.known or {}
  local found = here.known[tenant]
  if found then return found end
  local share = share_of(tenant)
  found = {holds = hinted_tenants()[tenant] or runs_here(tenant, 'running') or share.n > 0 and runs_here(tenant, 'part_running')}
  found.in_ring = found.holds or redis.call('ZSCORE', K.ring(), tenant)
  if not found.holds and share.n ~= 0 then
    counters = counters + 1
    if POOL ~= '' then
      local common = common_of(tenant)
      common.others = math.max(0, common.others - share.n)
      redis.call('HSET', K.share(tenant), 'others', common.others)
    end
    share.n = 0
    redis.call('HSET', K.share(tenant), 'n' .. POOL, 0)
  end
  here.known[tenant] = found
  spend(3)
  return found
end

-- A dependency has ended or is gone, and the job was not told.
local function tell_of_ends(id)
  for _, need in ipairs(redis.call('SMEMBERS', K.needs(id))) do
    local status = redis.call('HGET', K.job(need), 'status')
    spend(1)
    if status ~= 'queued' and status ~= 'running' then
      redis.call('SADD', K.dependents(need), id)
      note_end(need, status or 'failed')
      jobs = jobs + 1
    end
  end
end

-- A queued job is in its lane, in hints or in delayed, or it waits for other jobs.
local function look_at_queued(id, job, hinted, delayed, since)
  local tenant = tenant_of(job.tenant_id)
  -- Slots that no job has in another pool hold it back here, too.
  if slots_of(job.tenant_id) > 0 then in_each_pool(function() tenant_of(job.tenant_id) end) end
  local in_lane = redis.call('ZSCORE', K.ready(job.tenant_id, job.workspace_id, job.pipeline), ready_member(id, job))
  local apart = in_lane and not tenant.in_ring and not held_back(job.tenant_id) and room_of(job.pipeline) > 0
  if apart and redis.call('ZSCORE', K.blocked(job.pipeline), job.tenant_id .. ':' .. job.workspace_id) then
    -- No fault: its pipeline has had room for a moment (a worker came or went), and the next beat or rescue asks it.
    redis.call('SADD', K.blocking(), job.pipeline)
  elseif apart then
    -- Nothing of this tenant runs whose end would bring it back into the ring.
    enter(job.tenant_id, job.workspace_id)
    tenant.in_ring = true
    jobs = jobs + 1
  end
  if job.reason == 'dependency' then tell_of_ends(id) end
  if job.reason == 'signal' and delayed then
    redis.call('ZADD', K.awaiting(), 'NX', int(NOW), id)
    redis.call('ZADD', K.tenant_awaiting(job.tenant_id), 'NX', int(NOW), id)
  end
  local waits = job.reason == 'dependency' and redis.call('EXISTS', K.needs(id)) == 1
  -- Workers of versions before this index may also run: what they leave out of it is no error.
  if (in_lane or hinted) and not since then redis.call('ZADD', K.ready_since(), 'NX', job.created_at, id) end
  if since and not (in_lane or hinted) then redis.call('ZREM', K.ready_since(), id) end
  if not (waits or in_lane or hinted or delayed) then
    redis.call('HSET', K.job(id), 'reason', 'fair_share')
    make_ready(id, job)
    enter(job.tenant_id, job.workspace_id)
    jobs = jobs + 1
    spend(15)
  end
end

-- A running job must have a lease. This one gets a lease that ends now, so that the next rescue takes the job.
local function look_at_running(id, job, leased)
  if leased then return end
  redis.call('ZADD', K.leases(), int(NOW), id)
  redis.call('HINCRBY', K.running(), job.worker, 1)
  if not redis.call('ZSCORE', K.workers(), job.worker) then redis.call('INCR', K.stranded()) end
  here.row = nil
  jobs = jobs + 1
  spend(4)
end

-- The parts of a job that waits for them, each in its lane, in hints, in delayed or with a lease. A job whose last part has ended goes on.
local function look_at_split(id, job, delayed)
  local split = id .. '~' .. (string.match(job.split or '', '^%d+') or '')
  if tonumber(redis.call('HGET', K.parts(split), 'left') or '0') == 0 then
    jobs = jobs + 1
    return unpark(id, job)
  end
  redis.call('ZADD', K.splitting(), 'NX', int(NOW), id)
  if not delayed then
    redis.call('ZADD', K.delayed(), int(FOR_GOOD), id)
    jobs = jobs + 1
  end
  for _, part in ipairs(redis.call('SMEMBERS', K.open_parts(split))) do
    local own = load(part)
    local before = use_pool(pool_of(own or {}))
    local function place(key) return redis.call('ZSCORE', key, part) end
    if own and own.status == 'queued' then
      look_at_queued(part, own, place(K.hints()), place(K.delayed()), place(K.ready_since()))
    elseif own then
      look_at_running(part, own, place(K.leases()))
    end
    use_pool(before)
    spend(5)
  end
end

local status, after = 'queued', '0'
local where = redis.call('MGET', K.reconciled(), K.pools())
if where[1] then status, after = string.match(where[1], '^(%a+) (%S+)$') end
read_once.pools = where[2] or ''
local ids, orders = {}, {}
local page = redis.call('ZRANGEBYSCORE', K.status(status), '(' .. after, '+inf', 'WITHSCORES', 'LIMIT', 0, limit)
for i = 1, #page, 2 do ids[#ids + 1], orders[#orders + 1] = page[i], page[i + 1] end

-- One question for all of them instead of one for each.
local function places(key) return ids[1] and redis.call('ZMSCORE', key, unpack(ids)) or {} end
local NEEDED = {'status', 'tenant_id', 'workspace_id', 'pipeline', 'order', 'reason', 'created_at', 'priority', 'worker', 'pool', 'split', 'fence', 'started_at'}
local delayed, since = places(K.delayed()), places(K.ready_since())
in_each_pool(function() here.leased, here.hints = places(K.leases()), places(K.hints()) end)
local looked_at = 0
while looked_at < #ids and not worked_enough() do
  looked_at = looked_at + 1
  local i, id = looked_at, ids[looked_at]
  use_pool('')
  if not (status == 'running' and here.leased[i]) then
    local values, job = redis.call('HMGET', K.job(id), unpack(NEEDED)), {}
    for n, name in ipairs(NEEDED) do job[name] = values[n] or nil end
    if job.status then made_good(id, job) end
    spend(2)
    use_pool(pool_of(job))
    if not here.hints then here.leased, here.hints = places(K.leases()), places(K.hints()) end
    if not job.status then
      redis.call('ZREM', K.status(status), id)
      jobs = jobs + 1
    elseif job.status == 'queued' and job.homeless then
      -- It is in no lane that anybody knows.
    elseif job.status == 'queued' and job.reason == 'parts' then
      look_at_split(id, job, delayed[i])
    elseif job.status == 'queued' then
      look_at_queued(id, job, here.hints[i], delayed[i], since[i])
    elseif job.status == 'running' then
      look_at_running(id, job, here.leased[i])
    end
  end
end
use_pool('')
local following = (looked_at < #ids or #ids == limit) and status .. ' ' .. orders[looked_at] or status == 'queued' and 'running 0'
if following then redis.call('SET', K.reconciled(), following) else redis.call('DEL', K.reconciled()) end
return {looked_at, jobs, counters, following and 1 or 0, settle_and_admit()}
