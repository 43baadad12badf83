#!lua flags=allow-oom
-- Remove the record of an ended job with all its traces; its artifacts go to the trash. order: of the job that is meant; a later one with the
-- same id, perhaps another tenant's, is not that one.
--@args id order:int?
--@once
-- Returns 'deleted' | 'unknown' | 'live' (not ended: nothing is done).
local job = load(id)
if not job or order and tonumber(job.order) ~= order then return 'unknown' end
if job.status == 'queued' or job.status == 'running' then return 'live' end
drop_reused_of(job.tenant_id, job.workspace_id, redis.call('HGET', K.job(id), 'reuse_keys'))
remove_job(id, job)
return 'deleted'
