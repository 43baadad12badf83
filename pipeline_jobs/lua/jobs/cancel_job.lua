#!lua flags=allow-oom
-- Ask for a job's end. The request is durable: it is a field of the record. actor: who asked, for the audit log, unless the job had ended; '':
-- the caller writes that down.
--@args id call:digits tenant? workspace? actor?
--@settings events admits names kept
--@reply was record hints
-- was: the status that the job had, or 'unknown': there is none, or none of this tenant and workspace ('': any). record: the job's
-- fields afterwards. Sent again (the same `call`), it says again what the job was. A queued job ends in this call, a running job when its worker has stopped it; an ended job is left alone.
local of = string.match(id, '^(.+)~%d+%.%d+$')
-- Whoever means a part means its job. One whose split is over is nobody's: the id may be another job's by now.
if of and not found_before(call) and redis.call('EXISTS', K.parts(string.match(id, '^(.+)%.'))) == 0 then return {'unknown', {}, {}} end
id = of or id
local job = load(id)
if not job or not is_of(job, tenant, workspace) then return {'unknown', {}, {}} end
local before = found_before(call)
local was, hints = before or job.status, {}
if job.status == 'queued' or job.status == 'running' then
  keep_found(call, was)
  if actor ~= '' and not before then
    record_audit('work', job.tenant_id, actor, 'job.cancelled', id, cjson.encode({tenant_id = job.tenant_id}))
  end
  ask_to_end(id, job)
  hints = settle_and_admit()
end
return {was, redis.call('HGETALL', K.job(id)), hints}
