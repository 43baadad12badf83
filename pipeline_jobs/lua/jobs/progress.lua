#!lua flags=allow-oom
-- Write a run's progress; with no percentage, only ask. passed: stages that began and ended since the last call, each with its percentage.
--@args id fence:digits percent:decimal? stage message passed:pairs
--@events
-- Returns 'ok' | 'cancel' (a cancel was requested, or the deadline passed) | 'fenced' (this run has no say any more).
local job = load(id)
if not job or job.status ~= 'running' or job.fence ~= fence then return 'fenced' end
if percent ~= '' then tell(id, job, percent, stage, message, passed) end
if job.cancel_requested or job.deadline_passed then return 'cancel' end
return 'ok'
