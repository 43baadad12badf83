#!lua flags=allow-oom
-- Write a run's progress, or only ask if the job should stop (without a percentage). It renews the run's lease as well. passed: what
-- came since the last call: stages that began and ended, each with its percentage, and warnings (see tell).
--@args id fence:digits percent:decimal? stage message passed:pairs
--@settings events leases
-- Returns 'ok' | 'cancel' (a cancel was requested, or the deadline has passed) | 'fenced' (the run has lost the job).
local job = load(id)
if not job or job.status ~= 'running' or job.fence ~= fence then return 'fenced' end
if percent ~= '' then
  tell(id, job, percent, stage, message, passed)
  if job.told then redis.call('HSET', K.job(id), unpack(job.told)) end
end
if job.cancel_requested or job.deadline_passed then return 'cancel' end
-- Renewed here as well because Celery forgets a run if the broker's connection is lost while the run is handed over to its process: the
-- worker's beat then no longer names it. Not renewed for a run that must stop (above): if the main process stands still, only the end of
-- the lease ends such a run.
use_pool(pool_of(job))
redis.call('ZADD', K.leases(), 'XX', NOW + LEASE_MS, id)
return 'ok'
