#!lua flags=allow-oom
-- A run gives its job up without an end: it goes back to the queue.
-- KEYS: prefix
-- ARGV: id, fence, why (crash | retry | handback), delay ms, most crashes, error, error detail JSON, TTL ms, admission
-- Returns {'queued' | 'failed' | 'cancelled', hints} | {'fenced', {}}. crash: counted, at most so many; retry: a new attempt (the caller has
-- checked max_attempts); handback: counted without a limit. A requested cancel or a passed deadline ends it instead.
local id, fence, why, ttl_ms = ARGV[1], ARGV[2], ARGV[3], ARGV[8]
local job = load(id)
if not job then return {'fenced', {}} end
if job.status ~= 'running' or job.fence ~= fence then
  -- Others have taken the job from it, and threw away what it had published then; this is what it published since.
  discard(id, job, fence)
  return {'fenced', {}}
end
local became = 'queued'
if why == 'crash' then
  became = crashed(id, job, tonumber(ARGV[5]), ttl_ms, ARGV[6], ARGV[7])
else
  -- It removes its folder itself, if it lives so long.
  discard(id, job, fence)
  local ended = stopped(id, job, ttl_ms)
  if ended then return {ended, settle_and_admit()} end
end
if why == 'retry' then
  redis.call('HSET', K.job(id), 'new_attempt', '1')
  back_to_queue(id, job, 'retry', tonumber(ARGV[4]), why)
elseif why == 'handback' then
  redis.call('HINCRBY', K.job(id), 'handbacks', 1)
  back_to_queue(id, job, 'fair_share', 0, why)
end
return {became, settle_and_admit()}
