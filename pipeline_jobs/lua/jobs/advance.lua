#!lua flags=allow-oom
-- A run has come to a stage that another pool runs, with its outputs kept: the job gives its slot back and waits in that pool ('': `default`),
-- on the same attempt, with its progress. message: what is told to whoever looks at the job. stage: the one that comes next. Where it came next
-- at two borders before, the job is sent to and fro, by workers of two versions in the middle of a deploy, or by one that
-- does not find what the others kept: then it waits as after a fault.
--@args id fence:digits pool? message stage
--@settings events admits names kept
--@once
--@reply status hints
-- status: 'queued', or 'failed' | 'cancelled' (a cancel was requested or the deadline has passed), 'fenced' (the run has lost the job).
local job = load(id)
if not job then return {'fenced', {}} end
if job.status ~= 'running' or job.fence ~= fence then
  discard(id, job, fence)
  return {'fenced', {}}
end
-- The run itself learns what became of its job.
job.told_by_run = true
if job.cancel_requested or job.deadline_passed then
  discard(id, job, fence)
  return {stopped(id, job), settle_and_admit()}
end
local used = used_ms(job)
job.segments_ms = redis.call('HINCRBY', K.job(id), 'segments_ms', int(used))
local before, delay = redis.call('HGET', K.job(id), 'hop_stage') or '', 0
local times = 0
for seen in string.gmatch(before, '%S+') do times = times + (seen == stage and 1 or 0) end
local to_and_fro = times > 1
if to_and_fro then
  delay = fault_delay(id)
else
  redis.call('HSET', K.job(id), 'hop_stage', before .. ' ' .. stage)
  redis.call('HDEL', K.job(id), 'faults')
end
if job.split then retire_split(id, job) end
back_to_queue(id, job, to_and_fro and 'retry' or 'fair_share', delay, 'hop', message, pool)
return {'queued', settle_and_admit()}
