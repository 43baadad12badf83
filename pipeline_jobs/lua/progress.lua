#!lua flags=allow-oom
-- Write a run's progress; with no percentage, only ask.
-- KEYS: prefix
-- ARGV: id, fence, percent or '', stage, message, number of stages that began and ended since the last call, stage, percent, ..., admission
-- Returns 'ok' | 'cancel' (a cancel was requested, or the deadline passed) | 'fenced' (this run has no say any more).
-- The percentage never falls within an attempt: a rescued run overtakes it first. What changes nothing (it is sent again) is no event.
local id, fence, percent, stage, message = ARGV[1], ARGV[2], ARGV[3], ARGV[4], ARGV[5]
local job = load(id)
if not job or job.status ~= 'running' or job.fence ~= fence then return 'fenced' end
if percent ~= '' then
  local before = tonumber(job.progress or '0')
  if tonumber(percent) < before then percent = job.progress end
  local kind = stage ~= (job.stage or '') and 'stage' or 'progress'
  if kind == 'stage' or tonumber(percent) ~= before or message ~= (job.message or '') then
    for i = 7, 5 + 2 * tonumber(ARGV[6]), 2 do
      job.stage, job.progress = ARGV[i], math.max(before, tonumber(ARGV[i + 1]))
      event(id, job, 'stage')
    end
    job.stage, job.progress = stage, percent
    redis.call('HSET', K.job(id), 'progress', percent, 'stage', stage, 'message', message)
    event(id, job, kind, message)
  end
end
if job.cancel_requested or job.deadline_passed then return 'cancel' end
return 'ok'
