#!lua flags=allow-oom
-- Ask for a job's end. The request is durable: it is a field of the record. actor: who asked, for the audit log, unless the job had ended; '':
-- the caller writes that down. whole: the caller needs all of the record.
--@args id call:digits tenant? workspace? actor? whole:flag?
--@settings events admits names kept
--@reply was record hints
-- was: the status that the job had, or 'unknown': there is none, or none of this tenant and workspace ('': any). record: the job's
-- fields afterwards, or what tells of its end. Sent again (the same `call`), it says again what the job was. A queued job ends in this call,
-- a running job when its worker has stopped it; an ended job is left alone.
local of = string.match(id, '^(.+)~%d+%.%d+$')
local own = of or id
local job = load_whole(own)
if not job or not is_of(job, tenant, workspace) then return {'unknown', {}, {}} end
-- A queued job's end says which call it was; of a running one that is kept apart, since others may ask before it ends.
local before = job.cancel_call == call and 'queued' or job.status ~= 'queued' and found_before(job.tenant_id, call)
-- Whoever means a part means its job. One whose split is over is nobody's: the id may be another job's by now.
if of and not before and redis.call('EXISTS', K.parts(string.match(id, '^(.+)%.'))) == 0 then return {'unknown', {}, {}} end
id = own
local was, hints = before or job.status, {}
if job.status == 'queued' or job.status == 'running' then
  if job.status == 'running' then keep_found(job.tenant_id, call, was) end
  if actor ~= '' and not before then
    record_audit('work', job.tenant_id, actor, 'job.cancelled', id, '{"tenant_id":"' .. job.tenant_id .. '"}')
  end
  job.cancel_call = call
  ask_to_end(id, job)
  hints = settle_and_admit_after()
end
if whole then return {was, redis.call('HGETALL', K.job(id)), hints} end
local function has(name) return job[name] or '' end
return {
  was, {'status', job.status, 'order', has('order'), 'tenant_id', has('tenant_id'), 'workspace_id', has('workspace_id'), 'pipeline', has('pipeline')},
  hints,
}
