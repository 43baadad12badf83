-- How jobs are accepted, one or many in a call: what refuses them, their records, indexes, counters and places in the queue.
-- The jobs of a call are of one tenant and one workspace. Each is {id, job = its fields by name, fields = the same flat, deadline, wait, start}.

-- Reply for an Idempotency-Key that was used before, or nil.
local function made_before(tenant, key, fingerprint)
  if key == '' then return nil end
  local made = redis.call('HMGET', K.idempotency(tenant, key), 'id', 'fingerprint')
  if not made[1] then return nil end
  if made[2] ~= fingerprint then return {'differs'} end
  return {'same', made[1]}
end

local function remember_key(tenant, key, fingerprint, id)
  if key == '' then return end
  redis.call('HSET', K.idempotency(tenant, key), 'id', id, 'fingerprint', fingerprint)
  redis.call('EXPIRE', K.idempotency(tenant, key), 86400)
end

-- Reply that says why so many more jobs of a tenant are not taken now, or nil. A batch needs one submit token to come in and takes one for
-- each of its jobs: the debt is paid off before the next one comes in.
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
  if redis.call('ZCARD', K.tenant_status(tenant, 'queued')) + n > most then return {'full', 'tenant', retry_after('tenant:' .. tenant, n)} end
  if redis.call('ZCARD', K.status('queued')) + n > tonumber(most_of_all) then return {'full', 'all', retry_after('all', n)} end
end

-- Count so many submits against a tenant's rate. Returns its limit and what is left, or two empty strings.
local function take_room(tenant, n)
  local rate = limits_of(tenant).submit_rate
  if not rate then return '', '' end
  local left = take_tokens(K.rate(tenant), rate, n)
  redis.call('EXPIRE', K.rate(tenant), math.max(3600, math.ceil(-left / rate) + 60))
  return tostring(rate), int(math.max(0, math.floor(left)))
end

-- Write records, indexes and counters, and put the jobs where they wait. Whoever calls this ends with the admission.
local function accept(asked, ttl_ms)
  local first = asked[1].job
  local tenant, workspace = first.tenant_id, first.workspace_id
  local order = math.max(TIME[1] * 1000000 + TIME[2], tonumber(redis.call('GET', K.order()) or '0') + 1)
  redis.call('SET', K.order(), int(order + #asked - 1))
  local now, places, lanes = int(NOW), {}, {}
  local function note(key, score, member)
    local flat = places[key]
    if not flat then
      flat = {}
      places[key] = flat
    end
    flat[#flat + 1] = score
    flat[#flat + 1] = member
  end
  for i, new in ipairs(asked) do
    local id, job = new.id, new.job
    job.status, job.order, job.created_at = 'queued', int(order + i - 1), now
    job.reason = 'fair_share'
    if new.adopt then
      job.reason, job.fence = 'dispatched', '1'
      redis.call('HSET', K.job(id), 'fence', '1')
      note(K.hints(), int(NOW + HINT_MS), id)
    elseif wait_for_others(new, ttl_ms) then
      job.reason = 'dependency'
    elseif job.run_at and tonumber(job.run_at) > NOW then
      job.reason = 'scheduled'
      note(K.delayed(), job.run_at, id)
    else
      note(K.ready(tenant, workspace, job.pipeline), -tonumber(job.priority or '0'), ready_member(id, job))
      lanes[job.pipeline] = true
    end
    redis.call('HSET', K.job(id), 'job_id', id, 'status', 'queued', 'reason', job.reason, 'order', job.order, 'created_at', now, 'new_attempt', '1',
      unpack(new.fields))
    note(K.status('queued'), job.order, id)
    note(K.tenant_status(tenant, 'queued'), job.order, id)
    for _, key in ipairs(indexes_of(job, job.tags)) do note(key, job.order, id) end
    if new.deadline then
      job.deadline_at = int(NOW + new.deadline)
      redis.call('HSET', K.job(id), 'deadline_at', job.deadline_at)
      note(K.deadlines(), job.deadline_at, id)
    end
    if new.wait then note(K.waits(), int(NOW + new.wait), id) end
  end
  for key, flat in pairs(places) do add_all(key, flat) end
  for pipeline in pairs(lanes) do
    redis.call('SADD', K.lanes(tenant, workspace), pipeline)
    enter(tenant, workspace)
  end
  if first.reason == 'dispatched' then slot_taken(asked[1].id, first) end
  count_by(#asked, 'created', tenant, workspace)
  redis.call('HINCRBY', K.usage_day(tenant, int(math.floor(NOW / 86400000))), 'created', #asked)
end
