#!lua
-- Accept a job: record, indexes, counter, and a hint if a slot is free.
-- adopt: the job's message is at a worker already, which drew this fence for it. wait: the longest wait for a start. depends_within: the
-- only workspace whose jobs it may depend on. sender: who sends it (`key:X`, `address:X`). share: see lib/submit_limits.
--@args id nonce adopt:digits? deadline:ms? wait:ms? idempotency? fingerprint? depends_within?
--@args sender? share:int fields:pairs
--@settings events admits names storage queue kept
--@reply 'ok' created_at order reason fence deadline_at rates hints
--@text 'waits' created_at order rates
--@reply 'taken'
--@refuses
-- 'waits': an 'ok' of a job that waits for its turn and has no deadline.
-- 'taken': another job has the id. `rates`: the rates that were checked (see lib/rates). Sent again: the same, one job.
if redis.call('HEXISTS', K.job(id), 'created_at') == 1 then
  local known = redis.call('HMGET', K.job(id), 'nonce', 'created_at', 'order', 'reason', 'fence', 'deadline_at')
  if known[1] ~= nonce then return {'taken'} end
  -- Gives WAITAOF something to wait for: it covers the writes of its own connection, and a repetition comes on a new one.
  redis.call('HSET', K.job(id), 'nonce', nonce)
  return accepted(known[2], known[3], known[4] or '', known[5] or '0', known[6] or '', '', admit())
end
-- With room for what most jobs have and what accept fills in: a table grows in steps, and each step costs as much as the rest.
local job = {
  tenant_id = 'default', workspace_id = 'main', pipeline = '', status = 'queued', order = '', created_at = '', reason = '', url = nil, quality = nil,
}
for i = 1, #fields, 2 do job[fields[i]] = fields[i + 1] end
fields[#fields + 1], fields[#fields + 2] = 'nonce', nonce
local tenant = job.tenant_id
local new = {id = id, key = K.job(id), job = job, fields = fields, adopt = adopt ~= '' and adopt, deadline = deadline, wait = wait}
local asked = {new}
local refused = bad_dependency(asked, depends_within) or bad_upload(asked) or adopt == '' and no_room(tenant, 1, sender, share)
-- What its key made before is the answer whatever has changed since. Where nothing refuses the job, the command that writes the key says it.
if refused then return idempotency ~= '' and made_before(tenant, idempotency, fingerprint) or refused end
local charge, again
if idempotency ~= '' then charge, again = remember_key(tenant, idempotency, fingerprint, id) end
if again then return again end
local rates = take_tokens(1)
accept(asked, charge)
local hints, sent = read_once.entered and admit(nil, true) or '', read_once.fences[id]
return accepted(job.created_at, job.order, sent and 'dispatched' or job.reason, sent or '0', job.deadline_at or '', rates, hints)
