#!lua flags=allow-oom
-- A run gives its job up without an end, and the job goes back to the queue. why: crash (counted; the last one allowed ends the job),
-- retry (a new attempt; the caller has checked max_attempts), handback (counted without a limit) or fault (the worker's machine is at
-- fault: nothing is counted, and the job waits 1 s, twice as long each further time, at most 5 min). If a cancel was requested or the
-- deadline has passed, the job ends instead.
--@args id fence:digits why delay:ms error detail
--@settings events admits names kept crashes
--@once
--@reply status hints
-- status: 'queued' | 'failed' | 'cancelled', or 'fenced' (the run has lost the job).
local job = load(id)
if not job then return {'fenced', {}} end
if job.status ~= 'running' or job.fence ~= fence then
  -- The job was taken from this run, and what it had published was deleted then; this is what it has published since.
  discard(id, job, fence)
  return {'fenced', {}}
end
-- In these two cases the run itself sends this script, and learns what became of its job.
job.told_by_run = why == 'retry' or why == 'fault'
local became = give_up(id, job, why, error, detail, delay)
return {became, settle_and_admit()}
