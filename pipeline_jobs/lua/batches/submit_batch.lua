#!lua
-- Accept a batch: all of its jobs, or none. errors: of the jobs that were left out. metadata, errors are JSON; common: fields that all
-- jobs have (JSON: [field, value, ...]); size: the number of jobs; jobs (JSON: [[id, deadline ms from now or false, longest wait for a start
-- ms or false, field, value, ...], ...]). urls: of jobs with nothing of their own but an address, those (JSON); `jobs` is their ids then.
-- workflow: its jobs may depend on others of it, and the batch is in the list of workflows. retry_of:
-- the workflow that it is a retry of; needed: the batches of the jobs outside of it that its jobs depend on. The other arguments are those
-- of submit.
--@args id nonce idempotency? fingerprint? depends_within? metadata? errors? common size:int jobs urls?
--@args sender? share:int workflow:flag retry_of? needed:list
--@settings events admits names storage queue kept
--@reply 'ok' created_at order rates untagged hints
--@reply 'taken'
--@refuses
-- Also refused with 'rate': a tenant's second batch of more than LARGE jobs within a second, because such a batch holds the server for
-- longer than anything else. order: that of the first job; the others' follow. 'taken': there is a batch or a job with such an id; the
-- caller draws new ones. Sent again: the same 'ok', one batch.
local LARGE, LARGE_MS = 200, 1000
local known = redis.call('HMGET', K.batch(id), 'nonce', 'created_at', 'order')
if known[2] then
  if known[1] ~= nonce then return {'taken'} end
  -- As in submit: something for WAITAOF to wait for.
  redis.call('HSET', K.batch(id), 'nonce', nonce)
  return {'ok', known[2], known[3], '', redis.call('EXISTS', K.untagged()), admit()}
end
local flat = cjson.decode(common)
local shared, bytes = {}, bytes_of(0, flat)
for i = 1, #flat, 2 do shared[flat[i]] = flat[i + 1] end
-- Fields that a job does not have itself come from `common`.
local from_all = {__index = shared}
local tenant, workspace = shared.tenant_id, shared.workspace_id
local refused = idempotency ~= '' and made_before(tenant, idempotency, fingerprint)
if refused then return refused end

-- Before the jobs are read, which costs the server as much as many other commands.
local wait = size > LARGE and redis.call('PTTL', K.large_batch(tenant)) or 0
if wait > 0 then return {'rate', 'batch', '1', int(wait)} end

local keys, items = {}, cjson.decode(jobs)
local asked = {alike = flat, keys = keys, one_kind = shared.pipeline ~= nil, n = size, ids = nil, turn_of = nil}
if urls ~= '' then
  -- They take turns in one table: one for each would cost half of what its record does.
  local own, addresses = {'url', ''}, cjson.decode(urls)
  local new = setmetatable({id = '', key = '', fields = own, from = 1, bytes = 0, job = nil, order = ''}, from_all)
  for i = 1, size do keys[i] = K.job(items[i]) end
  asked[1], asked.ids, new.job = new, items, new
  asked.turn_of = function(i)
    new.id, new.key, new.bytes, own[2] = items[i], keys[i], bytes + bytes_of(#own[1] + #addresses[i]), addresses[i]
    for j = #own, 3, -1 do own[j] = nil end
    return new
  end
  asked.turn_of(1)
end
for i = 1, urls == '' and size or 0 do
  local item = items[i]
  local key, own = K.job(item[1]), 0
  -- With room for what is filled in: a table grows in steps, and each step costs as much as the rest. It is its job, too: of the names here
  -- no field of a job has one.
  local new = setmetatable({id = item[1], key = key, fields = item, from = 4, bytes = 0, job = nil, order = '', url = nil}, from_all)
  for j = 4, #item, 2 do
    local field, value = item[j], item[j + 1]
    new[field] = value
    own = own + #field + #value
  end
  if item[2] then new.deadline = item[2] end
  if item[3] then new.wait = item[3] end
  new.job, new.bytes, keys[i], asked[i] = new, bytes + bytes_of(own), key, new
end
if redis.call('EXISTS', unpack(keys)) > 0 then return {'taken'} end
refused = bad_dependency(asked, depends_within, workflow) or bad_upload(asked) or no_room(tenant, size, sender, share)
if refused then return refused end
local rates = take_tokens(size)
accept(asked, idempotency ~= '' and remember_key(tenant, idempotency, fingerprint, id))
if size > LARGE then redis.call('SET', K.large_batch(tenant), '1', 'PX', LARGE_MS) end
local order, now = asked[1].job.order, int(NOW)
bytes = 1000 + bytes_of(#metadata + #errors)
redis.call('HSET', K.batch(id), 'batch_id', id, 'nonce', nonce, 'tenant_id', tenant, 'workspace_id', workspace, 'created_at', now, 'order', order,
  'total', size, 'store_bytes', bytes)
owe(tenant, bytes)
if metadata ~= '' then redis.call('HSET', K.batch(id), 'metadata', metadata) end
if errors ~= '' then redis.call('HSET', K.batch(id), 'errors', errors) end
-- The jobs are written and the counts are not yet: no other script runs in between.
redis.call('HINCRBY', K.batch(id), 'queued', size)
for _, key in ipairs(lists_of_batch(tenant, workspace, workflow)) do redis.call('ZADD', key, order, id) end
if workflow then redis.call('HSET', K.batch(id), 'workflow', '1', 'retry_of', retry_of) end
for _, other in ipairs(needed) do
  if redis.call('EXISTS', K.batch(other)) == 1 then redis.call('HSET', K.batch(other), 'needed_by', id .. live_retries(other)) end
end
return {'ok', now, order, rates, redis.call('EXISTS', K.untagged()), read_once.entered and admit() or ''}
