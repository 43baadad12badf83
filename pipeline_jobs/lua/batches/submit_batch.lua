#!lua
-- Accept a batch: all of its jobs, or none.
-- KEYS: prefix
-- ARGV: batch id, nonce of this call, most queued jobs of a tenant, of all, TTL ms, idempotency key or '', fingerprint of the request,
--       only workspace whose jobs they may depend on or '', metadata JSON or '', errors of the jobs that were left out as JSON or '',
--       fields that all jobs have (JSON: [field, value, ...]),
--       jobs (JSON: [[id, deadline ms from now or -1, longest wait for a start ms or -1, field, value, ...], ...]),
--       who sends it or '', how many jobs a second they may send (0: any), admission
-- Returns {'ok', created_at, order of its first job (the others' follow), rates as submit does, hints} | {'taken'} (there is such a batch, or
--       such a job: draw again)
--       | {'same', id of the batch that this key made} | {'differs'} | {'dependency', number of a job (from 0), place in depends_on, ...}
--       | {'upload', number of a job, 'unknown' | 'incomplete', ...}
--       | {'full', ...} | {'rate', ...} as submit does. Sent again: the same 'ok', one batch.
local id, nonce, ttl_ms, idempotency, fingerprint, metadata = ARGV[1], ARGV[2], ARGV[5], ARGV[6], ARGV[7], ARGV[9]
local known = redis.call('HMGET', K.batch(id), 'nonce', 'created_at', 'order')
if known[2] then
  if known[1] ~= nonce then return {'taken'} end
  return {'ok', known[2], known[3], {}, admit()}
end
local common, items = cjson.decode(ARGV[11]), cjson.decode(ARGV[12])
local shared = {}
for i = 1, #common, 2 do shared[common[i]] = common[i + 1] end
-- What a job does not have itself it has from all.
local from_all = {__index = shared}
local tenant, workspace = shared.tenant_id, shared.workspace_id
local refused = idempotency ~= '' and made_before(tenant, idempotency, fingerprint)
if refused then return refused end

local asked, keys, n = {}, {}, #common
for i = 1, #items do
  local item = items[i]
  -- With room for what accept fills in: tables grow by steps, each of which costs as much as the rest.
  local job, fields = setmetatable({status = 'queued', order = '', created_at = '', reason = ''}, from_all), common
  if #item > 3 then
    fields = {unpack(common)}
    for j = 4, #item, 2 do
      local field, value = item[j], item[j + 1]
      job[field] = value
      fields[n + j - 3], fields[n + j - 2] = field, value
    end
  end
  local key = K.job(item[1])
  keys[i] = key
  asked[i] = {id = item[1], key = key, job = job, fields = fields, deadline = item[2] >= 0 and item[2] or nil, wait = item[3] >= 0 and item[3] or nil}
end
if redis.call('EXISTS', unpack(keys)) > 0 then return {'taken'} end
refused = bad_dependency(asked, ARGV[8]) or bad_upload(asked) or no_room(tenant, #asked, ARGV[3], ARGV[4], ARGV[13], tonumber(ARGV[14]))
if refused then return refused end
local rates = take_tokens(#asked)
if idempotency ~= '' then remember_key(tenant, idempotency, fingerprint, id) end
accept(asked, ttl_ms)
local order, now = asked[1].job.order, int(NOW)
redis.call('HSET', K.batch(id), 'batch_id', id, 'nonce', nonce, 'tenant_id', tenant, 'workspace_id', workspace, 'created_at', now, 'order', order,
  'total', #asked)
if metadata ~= '' then redis.call('HSET', K.batch(id), 'metadata', metadata) end
if ARGV[10] ~= '' then redis.call('HSET', K.batch(id), 'errors', ARGV[10]) end
-- The jobs are there, the counts are not yet: no script comes between.
redis.call('HINCRBY', K.batch(id), 'queued', #asked)
for _, key in ipairs(lists_of_batch(tenant, workspace)) do redis.call('ZADD', key, order, id) end
return {'ok', now, order, rates, ENTERED and admit() or {}}
