#!lua flags=allow-oom
-- Ask for a job's end. The request is durable: it is a field of the record.
--@args id
--@settings events admits names kept
--@reply status hints
-- status: the job's status afterwards, or 'unknown'. A queued job ends in this call, a running job when its worker has stopped it; an
-- ended job is left alone.
local job = load(id)
if not job then return {'unknown', {}} end
ask_to_end(id, job)
return {job.status, settle_and_admit()}
