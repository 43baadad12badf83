#!lua flags=allow-oom
-- Write a run's progress; with no percentage, only ask.
-- KEYS: prefix
-- ARGV: id, fence, percent or '', stage, message, admission
-- Returns 'ok' | 'cancel' (a cancel was requested, or the deadline passed) | 'fenced' (this run has no say any more).
-- The percentage never falls within an attempt: a rescued run overtakes it first.
local id, fence, percent = ARGV[1], ARGV[2], ARGV[3]
local job = load(id)
if not job or job.status ~= 'running' or job.fence ~= fence then return 'fenced' end
if percent ~= '' then
  local before = tonumber(redis.call('HGET', K.job(id), 'progress') or '0')
  if tonumber(percent) < before then percent = redis.call('HGET', K.job(id), 'progress') end
  redis.call('HSET', K.job(id), 'progress', percent, 'stage', ARGV[4], 'message', ARGV[5])
end
if job.cancel_requested or job.deadline_passed then return 'cancel' end
return 'ok'
