#!lua
-- Accept a job: record, indexes, counter, and a hint if a slot is free.
-- KEYS: prefix
-- ARGV: id, nonce of this call, adopt ('1': the message is at a worker already), most queued jobs of a tenant, of all,
--       deadline ms from now or '', longest wait for a start ms or '', not before ms (Unix) or '', idempotency key or '', fingerprint of the request,
--       number of fields, field, value, ..., admission
-- Returns {'ok', created_at, order, reason, fence, deadline_at, rate limit or '', what is left of it, hints} | {'taken'} (another job has the id)
--       | {'same', id of the job that this key made} | {'differs'} (the key made a job of another request)
--       | {'full', 'tenant' | 'all' | 'storage', seconds after which to try again} | {'rate', limit, ms after which to try again}.
-- Sent again: the same 'ok', one job.
local id, nonce, adopt, deadline, wait, start, idempotency = ARGV[1], ARGV[2], ARGV[3] == '1', ARGV[6], ARGV[7], ARGV[8], ARGV[9]
local n, first = tonumber(ARGV[11]), 12
local known = load(id)
if known then
  if known.nonce ~= nonce then return {'taken'} end
  return {'ok', known.created_at, known.order, known.reason or '', known.fence or '0', known.deadline_at or '', '', '', admit()}
end

local tenant = 'default'
for i = first, first + 2 * n - 2, 2 do
  if ARGV[i] == 'tenant_id' then tenant = ARGV[i + 1] end
end
local limits = limits_of(tenant)
local rate, left = '', ''
if idempotency ~= '' then
  local made = redis.call('HMGET', K.idempotency(tenant, idempotency), 'id', 'fingerprint')
  if made[1] then
    if made[2] ~= ARGV[10] then return {'differs'} end
    return {'same', made[1]}
  end
end
if not adopt then
  if limits.submit_rate then
    local have = tokens(K.rate(tenant), limits.submit_rate)
    if have < 1 then
      local missing = limits.submit_rate > 0 and (1 - have) / limits.submit_rate * 1000 or 3600000
      return {'rate', tostring(limits.submit_rate), int(math.ceil(missing))}
    end
    rate, left = tostring(limits.submit_rate), int(math.floor(have - 1))
  end
  if limits.max_storage_bytes and tonumber(redis.call('HGET', K.usage(tenant), 'artifact_bytes') or '0') >= limits.max_storage_bytes then
    return {'full', 'storage', 300}
  end
  local most = limits.max_queued or tonumber(ARGV[4])
  if redis.call('ZCARD', K.tenant_status(tenant, 'queued')) >= most then return {'full', 'tenant', retry_after('tenant:' .. tenant)} end
  if redis.call('ZCARD', K.status('queued')) >= tonumber(ARGV[5]) then return {'full', 'all', retry_after('all')} end
end
if rate ~= '' then
  take_token(K.rate(tenant), limits.submit_rate)
  redis.call('EXPIRE', K.rate(tenant), 3600)
end
if idempotency ~= '' then
  redis.call('HSET', K.idempotency(tenant, idempotency), 'id', id, 'fingerprint', ARGV[10])
  redis.call('EXPIRE', K.idempotency(tenant, idempotency), 86400)
end

local order = math.max(TIME[1] * 1000000 + TIME[2], tonumber(redis.call('GET', K.order()) or '0') + 1)
redis.call('SET', K.order(), int(order))
redis.call('HSET', K.job(id), 'job_id', id, 'status', 'queued', 'reason', 'fair_share', 'nonce', nonce, 'order', int(order), 'created_at', int(NOW),
  'new_attempt', '1', unpack(ARGV, first, first - 1 + 2 * n))
local job = load(id)
redis.call('ZADD', K.jobs(), job.order, id)
redis.call('ZADD', K.status('queued'), job.order, id)
redis.call('ZADD', K.tenant(job.tenant_id), job.order, id)
redis.call('ZADD', K.tenant_status(job.tenant_id, 'queued'), job.order, id)
redis.call('ZADD', K.workspace(job.tenant_id, job.workspace_id), job.order, id)
event(id, job, 'created')
count('created', job.tenant_id, job.workspace_id)
redis.call('HINCRBY', K.usage_day(tenant, int(math.floor(NOW / 86400000))), 'created', 1)
if deadline ~= '' then
  job.deadline_at = int(NOW + tonumber(deadline))
  redis.call('HSET', K.job(id), 'deadline_at', job.deadline_at)
  redis.call('ZADD', K.deadlines(), job.deadline_at, id)
end
if wait ~= '' then redis.call('ZADD', K.waits(), int(NOW + tonumber(wait)), id) end
if adopt then
  redis.call('HSET', K.job(id), 'reason', 'dispatched', 'fence', '1')
  redis.call('ZADD', K.hints(), int(NOW + HINT_MS), id)
  slot_taken(id, job)
elseif start ~= '' and tonumber(start) > NOW then
  redis.call('HSET', K.job(id), 'reason', 'scheduled')
  redis.call('ZADD', K.delayed(), start, id)
else
  make_ready(id, job)
end
local hints = admit()
local now = redis.call('HMGET', K.job(id), 'reason', 'fence')
return {'ok', job.created_at, job.order, now[1] or '', now[2] or '0', job.deadline_at or '', rate, left, hints}
