#!lua flags=no-writes
-- Why a queued job waits, and for how long about.
-- KEYS: prefix
-- ARGV: id, admission
-- Returns {} (it does not wait) | {reason, position, limit or '', current or '', seconds until it should start or ''}.
-- position: this job and those of its tenant that start before it. Other tenants are in the estimate only.
local id = ARGV[1]
local job = load(id)
if not job or job.status ~= 'queued' then return {} end
local tenant, workspace = job.tenant_id, job.workspace_id
local running, hinted = redis.call('ZCARD', K.leases()), redis.call('ZCARD', K.hints())
local slots = math.min(tonumber(redis.call('GET', K.capacity()) or '0'), CAP)
if redis.call('ZCOUNT', K.workers(), int(NOW), '+inf') == 0 then slots = 0 end
local rank = redis.call('ZRANK', K.ready(tenant, workspace, job.pipeline), ready_member(id, job))
if not rank then return {job.reason or 'fair_share', '0', '', '', ''} end

-- The workspaces of a tenant take turns: before this one starts, each other one starts about as many, or all it has.
local ahead = rank
for i, other in ipairs(redis.call('ZRANGE', K.workspaces(tenant), 0, 49)) do
  for _, pipeline in ipairs(redis.call('ZRANGE', K.lanes(tenant, other), 0, -1)) do
    if other ~= workspace or pipeline ~= job.pipeline then
      ahead = ahead + math.min(redis.call('ZCARD', K.ready(tenant, other, pipeline)), rank + 1)
    end
  end
end

local limits = limits_of(tenant)
local reason, limit, current = held_back(tenant), '', ''
if reason == 'tenant_concurrency' then
  limit, current = int(limits.max_concurrent), int(share_of(tenant).n)
elseif reason == 'tenant_rate' then
  limit = tostring(limits.start_rate)
elseif not reason and pipeline_full(job.pipeline) then
  reason = 'pipeline_concurrency'
  limit, current = int(pipe_of(job.pipeline).cap), int(pipe_of(job.pipeline).n)
elseif not reason and slots == 0 then
  reason = 'no_worker'
elseif not reason then
  reason, limit, current = 'fair_share', int(slots), int(running + hinted)
end

-- Jobs a second of this tenant lately; before it has any, its part of all.
local rate = pace_of(tenant)
if rate < 1000 / PACE_MS then rate = math.max(rate, pace_of_all() / (redis.call('ZCARD', K.ring()) + 1)) end
local seconds = ''
if reason ~= 'tenant_paused' and slots > 0 and rate > 1 / 3600 then seconds = string.format('%.1f', (ahead + 1) / rate) end
return {reason, int(ahead + 1), limit, current, seconds}
