#!lua
-- Accept a job: record, indexes, counter, and a hint if a slot is free.
-- KEYS: prefix
-- ARGV: id, nonce of this call, adopt ('1': the message is at a worker already), most queued jobs of a tenant, of all,
--       deadline ms from now or '', longest wait for a start ms or '', TTL ms, idempotency key or '', fingerprint of the request,
--       only workspace whose jobs it may depend on or '', who sends it (`key:X`, `address:X`) or '', how many jobs a second they may send (0: any),
--       number of fields, field, value, ..., admission
-- Returns {'ok', created_at, order, reason, fence, deadline_at, rates it was held against (see lib/rates), hints} | {'taken'} (another job has the id)
--       | {'same', id of the job that this key made} | {'differs'} (the key made a job of another request)
--       | {'dependency', 0, place in depends_on} (no job of the tenant has this id)
--       | {'upload', 0, 'unknown' | 'incomplete'} (its url names one that it cannot use)
--       | {'full', 'tenant' | 'all' | 'storage' | 'webhooks', seconds after which to try again} | {'rate', whose, a second, ms after which to try again}.
-- Sent again: the same 'ok', one job.
local id, nonce, adopt, deadline, wait, ttl_ms, idempotency, fingerprint = ARGV[1], ARGV[2], ARGV[3] == '1', ARGV[6], ARGV[7], ARGV[8], ARGV[9], ARGV[10]
local first, last = 15, 14 + 2 * tonumber(ARGV[14])
local known = redis.call('HMGET', K.job(id), 'nonce', 'created_at', 'order', 'reason', 'fence', 'deadline_at')
if known[2] then
  if known[1] ~= nonce then return {'taken'} end
  return {'ok', known[2], known[3], known[4] or '', known[5] or '0', known[6] or '', {}, admit()}
end
local job = {tenant_id = 'default', workspace_id = 'main', pipeline = ''}
for i = first, last, 2 do job[ARGV[i]] = ARGV[i + 1] end
local tenant = job.tenant_id
local new = {id = id, key = K.job(id), job = job, fields = {'nonce', nonce, unpack(ARGV, first, last)}, adopt = adopt, deadline = tonumber(deadline), wait = tonumber(wait)}
local asked = {new}
local refused = idempotency ~= '' and made_before(tenant, idempotency, fingerprint) or bad_dependency(asked, ARGV[11]) or bad_upload(asked)
  or not adopt and no_room(tenant, 1, ARGV[4], ARGV[5], ARGV[12], tonumber(ARGV[13]))
if refused then return refused end
local rates = take_tokens(1)
if idempotency ~= '' then remember_key(tenant, idempotency, fingerprint, id) end
accept(asked, ttl_ms)
local hints = ENTERED and admit() or {}
return {'ok', job.created_at, job.order, FENCES[id] and 'dispatched' or job.reason, FENCES[id] or '0', job.deadline_at or '', rates, hints}
