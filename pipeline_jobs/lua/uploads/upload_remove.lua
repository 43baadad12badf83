#!lua flags=allow-oom
-- Remove an upload; its files go to the trash. A writer is told that it is gone.
--@args id
--@once
-- Returns 'removed' | 'unknown' | 'used' (a live job needs it: nothing is done).
if redis.call('SCARD', K.upload_jobs(id)) > 0 then return 'used' end
return drop_upload(id) and 'removed' or 'unknown'
