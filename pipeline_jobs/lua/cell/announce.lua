#!lua flags=allow-oom
-- A worker's beat: its slots, a longer lease for each job it runs, and what has become of them.
-- KEYS: prefix
-- ARGV: worker, slots, time to live ms (0: it leaves), lease ms, number of jobs, id, fence, ..., admission
-- Returns {reply for each job, hints}; a reply is 'ok' | 'cancel' | 'fenced'.
local worker, slots, ttl, lease_ms, n = ARGV[1], tonumber(ARGV[2]), tonumber(ARGV[3]), tonumber(ARGV[4]), tonumber(ARGV[5])
if ttl > 0 then
  if redis.call('ZADD', K.workers(), NOW + ttl, worker) == 1 then
    redis.call('DECRBY', K.stranded(), tonumber(redis.call('HGET', K.running(), worker) or '0'))
  end
  local before = tonumber(redis.call('HGET', K.slots(), worker) or '0')
  redis.call('HSET', K.slots(), worker, int(slots))
  redis.call('INCRBY', K.capacity(), int(slots - before))
elseif redis.call('ZSCORE', K.workers(), worker) then
  redis.call('ZADD', K.workers(), NOW, worker)
end
local replies = {}
for i = 0, n - 1 do
  local id, fence = ARGV[6 + 2 * i], ARGV[7 + 2 * i]
  local job = load(id)
  if not job or job.status ~= 'running' or job.fence ~= fence then
    replies[i + 1] = 'fenced'
  else
    redis.call('ZADD', K.leases(), 'XX', NOW + lease_ms, id)
    charge_running(id, job)
    replies[i + 1] = (job.cancel_requested or job.deadline_passed) and 'cancel' or 'ok'
  end
end
wake()
return {replies, settle_and_admit()}
