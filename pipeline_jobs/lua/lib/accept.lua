-- How jobs are accepted: what refuses them, their records, indexes, counters and places in the queue.
-- Each is {id, job = its fields by name, fields = the same flat, adopt, deadline = ms from now, wait = ms from now}.

-- Reply that says why so many more jobs of a tenant are not taken now, or nil.
local function no_room(tenant, n, most_of_tenant, most_of_all)
  local limits = limits_of(tenant)
  if limits.submit_rate then
    local have = tokens(K.rate(tenant), limits.submit_rate)
    if have < 1 then
      local missing = limits.submit_rate > 0 and (1 - have) / limits.submit_rate * 1000 or 3600000
      return {'rate', tostring(limits.submit_rate), int(math.ceil(missing))}
    end
  end
  if limits.max_storage_bytes and tonumber(redis.call('HGET', K.usage(tenant), 'artifact_bytes') or '0') >= limits.max_storage_bytes then
    return {'full', 'storage', 300}
  end
  local most = limits.max_queued or tonumber(most_of_tenant)
  if redis.call('ZCARD', K.tenant_status(tenant, 'queued')) + n > most then return {'full', 'tenant', retry_after('tenant:' .. tenant)} end
  if redis.call('ZCARD', K.status('queued')) + n > tonumber(most_of_all) then return {'full', 'all', retry_after('all')} end
end

-- Count a submit against a tenant's rate. Returns its limit and what is left, or two empty strings.
local function take_room(tenant)
  local rate = limits_of(tenant).submit_rate
  if not rate then return '', '' end
  local left = tokens(K.rate(tenant), rate) - 1
  take_token(K.rate(tenant), rate)
  redis.call('EXPIRE', K.rate(tenant), 3600)
  return tostring(rate), int(math.floor(left))
end

-- Write records, indexes and counters, and put the jobs where they wait. Whoever calls this ends with the admission.
local function accept(asked)
  for _, new in ipairs(asked) do
    local id, job = new.id, new.job
    local order = math.max(TIME[1] * 1000000 + TIME[2], tonumber(redis.call('GET', K.order()) or '0') + 1)
    redis.call('SET', K.order(), int(order))
    job.status, job.order, job.created_at = 'queued', int(order), int(NOW)
    redis.call('HSET', K.job(id), 'job_id', id, 'status', 'queued', 'reason', 'fair_share', 'order', job.order, 'created_at', job.created_at,
      'new_attempt', '1', unpack(new.fields))
    redis.call('ZADD', K.jobs(), job.order, id)
    redis.call('ZADD', K.status('queued'), job.order, id)
    redis.call('ZADD', K.tenant(job.tenant_id), job.order, id)
    redis.call('ZADD', K.tenant_status(job.tenant_id, 'queued'), job.order, id)
    redis.call('ZADD', K.workspace(job.tenant_id, job.workspace_id), job.order, id)
    count('created', job.tenant_id, job.workspace_id)
    redis.call('HINCRBY', K.usage_day(job.tenant_id, int(math.floor(NOW / 86400000))), 'created', 1)
    if new.deadline then
      job.deadline_at = int(NOW + new.deadline)
      redis.call('HSET', K.job(id), 'deadline_at', job.deadline_at)
      redis.call('ZADD', K.deadlines(), job.deadline_at, id)
    end
    if new.wait then redis.call('ZADD', K.waits(), int(NOW + new.wait), id) end
    if new.adopt then
      redis.call('HSET', K.job(id), 'reason', 'dispatched', 'fence', '1')
      redis.call('ZADD', K.hints(), int(NOW + HINT_MS), id)
      slot_taken(id, job)
    elseif job.run_at and tonumber(job.run_at) > NOW then
      redis.call('HSET', K.job(id), 'reason', 'scheduled')
      redis.call('ZADD', K.delayed(), job.run_at, id)
    else
      make_ready(id, job)
    end
  end
end
