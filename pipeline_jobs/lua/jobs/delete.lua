#!lua flags=allow-oom
-- Remove the record of an ended job with all its traces; its artifacts go to the trash.
--@args id
--@once
-- Returns 'deleted' | 'unknown' | 'live' (not ended: nothing is done).
local job = load(id)
if not job then return 'unknown' end
if job.status == 'queued' or job.status == 'running' then return 'live' end
drop_reused_of(job.tenant_id, job.workspace_id, redis.call('HGET', K.job(id), 'reuse_keys'))
remove_job(id, job)
return 'deleted'
