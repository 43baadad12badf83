#!lua
-- Accept a job: record, indexes, counter, and a hint if a slot is free.
-- KEYS: prefix
-- ARGV: id, nonce of this call, adopt ('1': the message is at a worker already), most queued jobs of a tenant, of all,
--       deadline ms from now or '', longest wait for a start ms or '', not before ms (Unix) or '', idempotency key or '', fingerprint of the request,
--       who sends it (`key:X`, `address:X`) or '', how many jobs a second they may send (0: any),
--       number of fields, field, value, ..., admission
-- Returns {'ok', created_at, order, reason, fence, deadline_at, rates it was held against (see lib/rates), hints} | {'taken'} (another job has the id)
--       | {'same', id of the job that this key made} | {'differs'} (the key made a job of another request)
--       | {'full', 'tenant' | 'all' | 'storage', seconds after which to try again} | {'rate', whose, a second, ms after which to try again}.
-- Sent again: the same 'ok', one job.
local id, nonce, adopt, deadline, wait, start, idempotency = ARGV[1], ARGV[2], ARGV[3] == '1', ARGV[6], ARGV[7], ARGV[8], ARGV[9]
local sender, sender_rate, n, first = ARGV[11], tonumber(ARGV[12]), tonumber(ARGV[13]), 14
local known = redis.call('HMGET', K.job(id), 'nonce', 'created_at', 'order', 'reason', 'fence', 'deadline_at')
if known[1] then
  if known[1] ~= nonce then return {'taken'} end
  return {'ok', known[2], known[3], known[4] or '', known[5] or '0', known[6] or '', {}, admit()}
end

local job = {status = 'queued', created_at = int(NOW), tenant_id = 'default', workspace_id = 'main', pipeline = ''}
for i = first, first + 2 * n - 2, 2 do job[ARGV[i]] = ARGV[i + 1] end
local tenant = job.tenant_id
local limits = limits_of(tenant)
if idempotency ~= '' then
  local made = redis.call('HMGET', K.idempotency(tenant, idempotency), 'id', 'fingerprint')
  if made[1] then
    if made[2] ~= ARGV[10] then return {'differs'} end
    return {'same', made[1]}
  end
end
if not adopt then
  local wait_ms = limits.submit_rate and no_token('tenant', K.rate(tenant), limits.submit_rate)
  if wait_ms then return {'rate', 'tenant', tostring(limits.submit_rate), int(wait_ms)} end
  if sender_rate > 0 and sender ~= '' then
    local kind = string.match(sender, '^%a+')
    wait_ms = no_token(kind, K.sender_rate(sender), sender_rate)
    if wait_ms then return {'rate', kind, tostring(sender_rate), int(wait_ms)} end
  end
  if limits.max_storage_bytes and tonumber(redis.call('HGET', K.usage(tenant), 'artifact_bytes') or '0') >= limits.max_storage_bytes then
    return {'full', 'storage', 300}
  end
  local most = limits.max_queued or tonumber(ARGV[4])
  if redis.call('ZCARD', K.tenant_status(tenant, 'queued')) >= most then return {'full', 'tenant', retry_after(pace_of(tenant))} end
  if redis.call('ZCARD', K.status('queued')) >= tonumber(ARGV[5]) then return {'full', 'all', retry_after(pace_of_all())} end
end
local rates = take_tokens()
if idempotency ~= '' then
  redis.call('HSET', K.idempotency(tenant, idempotency), 'id', id, 'fingerprint', ARGV[10])
  redis.call('EXPIRE', K.idempotency(tenant, idempotency), 86400)
end

local order = math.max(TIME[1] * 1000000 + TIME[2], tonumber(redis.call('GET', K.order()) or '0') + 1)
job.order = int(order)
job.reason = start ~= '' and tonumber(start) > NOW and 'scheduled' or 'fair_share'
if deadline ~= '' then job.deadline_at = int(NOW + tonumber(deadline)) end
redis.call('SET', K.order(), job.order)
redis.call('HSET', K.job(id), 'job_id', id, 'status', 'queued', 'reason', job.reason, 'nonce', nonce, 'order', job.order, 'created_at', job.created_at,
  'new_attempt', '1', unpack(ARGV, first, first - 1 + 2 * n))
redis.call('ZADD', K.jobs(), job.order, id)
redis.call('ZADD', K.status('queued'), job.order, id)
redis.call('ZADD', K.tenant(tenant), job.order, id)
redis.call('ZADD', K.tenant_status(tenant, 'queued'), job.order, id)
redis.call('ZADD', K.workspace(tenant, job.workspace_id), job.order, id)
count('created', tenant, job.workspace_id)
local day = K.usage_day(tenant, int(math.floor(NOW / 86400000)))
if redis.call('HINCRBY', day, 'created', 1) == 1 then redis.call('EXPIRE', day, 34560000) end
if job.deadline_at then
  redis.call('HSET', K.job(id), 'deadline_at', job.deadline_at)
  redis.call('ZADD', K.deadlines(), job.deadline_at, id)
end
if wait ~= '' then redis.call('ZADD', K.waits(), NOW + tonumber(wait), id) end
if adopt then
  FENCES[id] = '1'
  dispatched(id, job, '1')
elseif job.reason == 'scheduled' then
  redis.call('ZADD', K.delayed(), start, id)
else
  make_ready(id, job)
end
local hints = admit()
return {'ok', job.created_at, job.order, FENCES[id] and 'dispatched' or job.reason, FENCES[id] or '0', job.deadline_at or '', rates, hints}
