#!lua
-- Accept a job: record, indexes, counter, and a hint if a slot is free.
-- KEYS: prefix
-- ARGV: id, nonce of this call, adopt ('1': the message is at a worker already), most queued jobs of a tenant, of all,
--       deadline ms from now or '', longest wait for a start ms or '', idempotency key or '', fingerprint of the request,
--       number of fields, field, value, ..., admission
-- Returns {'ok', created_at, order, reason, fence, deadline_at, rate limit or '', what is left of it, hints} | {'taken'} (another job has the id)
--       | {'same', id of the job that this key made} | {'differs'} (the key made a job of another request)
--       | {'full', 'tenant' | 'all' | 'storage', seconds after which to try again} | {'rate', limit, ms after which to try again}.
-- Sent again: the same 'ok', one job.
local id, nonce, adopt, deadline, wait, idempotency = ARGV[1], ARGV[2], ARGV[3] == '1', ARGV[6], ARGV[7], ARGV[8]
local first, last = 11, 10 + 2 * tonumber(ARGV[10])
local known = load(id)
if known then
  if known.nonce ~= nonce then return {'taken'} end
  return {'ok', known.created_at, known.order, known.reason or '', known.fence or '0', known.deadline_at or '', '', '', admit()}
end

local job = {}
for i = first, last, 2 do job[ARGV[i]] = ARGV[i + 1] end
local tenant = job.tenant_id
if idempotency ~= '' then
  local made = redis.call('HMGET', K.idempotency(tenant, idempotency), 'id', 'fingerprint')
  if made[1] then
    if made[2] ~= ARGV[9] then return {'differs'} end
    return {'same', made[1]}
  end
end
local rate, left = '', ''
if not adopt then
  local refused = no_room(tenant, 1, ARGV[4], ARGV[5])
  if refused then return refused end
  rate, left = take_room(tenant, 1)
end
if idempotency ~= '' then
  redis.call('HSET', K.idempotency(tenant, idempotency), 'id', id, 'fingerprint', ARGV[9])
  redis.call('EXPIRE', K.idempotency(tenant, idempotency), 86400)
end
accept({{id = id, job = job, fields = {'nonce', nonce, unpack(ARGV, first, last)}, adopt = adopt, deadline = tonumber(deadline), wait = tonumber(wait)}})
local hints = admit()
local now = redis.call('HMGET', K.job(id), 'reason', 'fence')
return {'ok', job.created_at, job.order, now[1] or '', now[2] or '0', job.deadline_at or '', rate, left, hints}
