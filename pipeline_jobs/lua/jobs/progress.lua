#!lua flags=allow-oom
-- Write a run's progress; with no percentage, only ask. It renews the run's lease as well. passed: stages that began and ended since the last call, each with its percentage.
--@args id fence:digits percent:decimal? stage message passed:pairs
--@settings events leases
-- Returns 'ok' | 'cancel' (a cancel was requested, or the deadline passed) | 'fenced' (this run has no say any more).
local job = load(id)
if not job or job.status ~= 'running' or job.fence ~= fence then return 'fenced' end
if percent ~= '' then tell(id, job, percent, stage, message, passed) end
if job.cancel_requested or job.deadline_passed then return 'cancel' end
-- Celery forgets a run whose broker's connection is lost between the hand-over to its process and the answer of that: its beat names it no more.
-- Only here: under a main process that stands still, the end of the lease is what ends a run that must stop and does not.
redis.call('ZADD', K.leases(), 'XX', NOW + LEASE_MS, id)
return 'ok'
