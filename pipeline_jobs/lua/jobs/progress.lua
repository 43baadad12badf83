#!lua flags=allow-oom
-- Write a run's progress; with no percentage, only ask.
-- KEYS: prefix
-- ARGV: id, fence, percent or '', stage, message, number of stages that began and ended since the last call, stage, percent, ..., admission
-- Returns 'ok' | 'cancel' (a cancel was requested, or the deadline passed) | 'fenced' (this run has no say any more).
local id, fence, percent, stage, message = ARGV[1], ARGV[2], ARGV[3], ARGV[4], ARGV[5]
local job = load(id)
if not job or job.status ~= 'running' or job.fence ~= fence then return 'fenced' end
if percent ~= '' then tell(id, job, percent, stage, message, 7, 6 + 2 * tonumber(ARGV[6])) end
if job.cancel_requested or job.deadline_passed then return 'cancel' end
return 'ok'
