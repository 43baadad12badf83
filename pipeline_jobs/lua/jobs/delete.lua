#!lua flags=allow-oom
-- Remove the record of an ended job with all its traces; its artifacts go to the trash.
-- KEYS: prefix
-- ARGV: id, admission
-- Returns 'deleted' | 'unknown' | 'live' (not ended: nothing is done).
local id = ARGV[1]
local job = load(id)
if not job then return 'unknown' end
if job.status == 'queued' or job.status == 'running' then return 'live' end
remove(id, job)
return 'deleted'
