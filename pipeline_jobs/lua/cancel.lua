#!lua flags=allow-oom
-- Ask for a job's end. Durable: it is a field of the record.
-- KEYS: prefix
-- ARGV: id, TTL ms, admission
-- Returns {'unknown', {}} | {status afterwards, hints}. A queued job ends in this call; a running one when its worker has stopped it; an ended one is left alone.
local id, ttl_ms = ARGV[1], ARGV[2]
local job = load(id)
if not job then return {'unknown', {}} end
if job.status == 'queued' then
  end_cancelled(id, job, ttl_ms)
elseif job.status == 'running' and not job.cancel_requested then
  redis.call('HSET', K.job(id), 'cancel_requested', '1')
  event(id, job, 'cancel_requested', job.message)
end
return {job.status, admit()}
