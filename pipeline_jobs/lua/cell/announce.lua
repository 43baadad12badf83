#!lua flags=allow-oom
-- A worker's beat: its slots, a longer lease for each job it runs, and what has become of them. alive: how long it counts as live (0: it leaves).
-- kind, text: its class and what that knows (lib/classes); none: it does not say. jobs: id, fence, ...
--@args worker slots:int alive:ms lease_ms:int kind? text? jobs:pairs
--@events
--@admits
--@names
--@reply replies hints
-- replies: for each job 'ok' | 'cancel' | 'fenced'.
if alive > 0 then
  if redis.call('ZADD', K.workers(), NOW + alive, worker) == 1 then
    redis.call('DECRBY', K.stranded(), tonumber(redis.call('HGET', K.running(), worker) or '0'))
  end
  local before = tonumber(redis.call('HGET', K.slots(), worker) or '0')
  redis.call('HSET', K.slots(), worker, int(slots))
  redis.call('INCRBY', K.capacity(), int(slots - before))
  note_class(worker, kind, text)
elseif redis.call('ZSCORE', K.workers(), worker) then
  redis.call('ZADD', K.workers(), NOW, worker)
end
local replies = {}
for i = 1, #jobs, 2 do
  local id, fence = jobs[i], jobs[i + 1]
  local job = load(id)
  if not job or job.status ~= 'running' or job.fence ~= fence then
    replies[#replies + 1] = 'fenced'
  else
    redis.call('ZADD', K.leases(), 'XX', NOW + lease_ms, id)
    charge_running(id, job)
    replies[#replies + 1] = (job.cancel_requested or job.deadline_passed) and 'cancel' or 'ok'
  end
end
wake()
return {replies, settle_and_admit()}
