#!lua flags=allow-oom
-- Handle everything whose time is over: jobs with an expired lease or hint go back to the queue; a passed deadline or a wait that ran out
-- ends its job, or lets it go on. limit: the maximum number of jobs of each kind a call. lost, waited: the errors of a job whose worker was lost, and of a
-- wait that ran out. server: run id of the server.
--@args limit:int lost waited server
--@settings events admits names kept leases looks crashes
--@reply done hints
-- done: {{id, 'queued' | 'failed' | 'cancelled' | 'hint' | 'stopping'}, ...}; empty: nothing is left to be done.
local done = {}

-- A server that was restarted has another run id. What was valid before a gap does not expire now.
local before, seen = string.match(redis.call('GET', K.server()) or '', '^(%S+) ?(%d*)')
redis.call('SET', K.server(), server .. ' ' .. int(NOW))
mind_the_gap(before and before ~= server, tonumber(seen))
in_each_pool(function()
  for _, id in ipairs(redis.call('ZRANGEBYSCORE', K.leases(), '-inf', int(NOW), 'LIMIT', 0, limit)) do
    if worked_enough() then break end
    local job = load(id)
    if job and job.status == 'running' and pool_of(job) == POOL then
      count('leases_expired')
      -- The time of its last renewal, if the server was not restarted since.
      local renewed = math.max(redis.call('ZSCORE', K.leases(), id) - LEASE_MS, tonumber(redis.call('HGET', K.job(id), 'renewed_at') or 0))
      job.ran_until = math.min(NOW, renewed)
      local detail = cjson.encode({code = 'worker_lost', message = lost, stage = job.stage or cjson.null, retryable = true, worker = job.worker})
      done[#done + 1] = {id, crashed(id, job, lost, detail)}
    else
      redis.call('ZREM', K.leases(), id)
    end
  end
  for _, id in ipairs(redis.call('ZRANGEBYSCORE', K.hints(), '-inf', int(NOW), 'LIMIT', 0, limit)) do
    if worked_enough() then break end
    local job = load(id)
    if not job or pool_of(job) ~= POOL then
      redis.call('ZREM', K.hints(), id)
    elseif job.status == 'queued' then
      hint_lost(id, job)
      done[#done + 1] = {id, 'hint'}
    else
      unhint(id, job)
    end
  end
end)
for _, id in ipairs(redis.call('ZRANGEBYSCORE', K.deadlines(), '-inf', int(NOW), 'LIMIT', 0, limit)) do
  if worked_enough() then break end
  redis.call('ZREM', K.deadlines(), id)
  local job = load(id)
  if job and (job.status == 'queued' or job.status == 'running') then
    -- Which of the two has passed: the job's own deadline, or the maximum run time.
    local run = job.run_until and tonumber(job.run_until) < (tonumber(job.deadline_at) or math.huge)
    job.deadline_passed = run and 'run' or '1'
    redis.call('HSET', K.job(id), 'deadline_passed', job.deadline_passed)
    -- A running job is stopped by its worker, as for a cancel.
    done[#done + 1] = {id, job.status == 'queued' and stopped(id, job) or 'stopping'}
  end
end
for _, id in ipairs(redis.call('ZRANGEBYSCORE', K.waits(), '-inf', int(NOW), 'LIMIT', 0, limit)) do
  if worked_enough() then break end
  redis.call('ZREM', K.waits(), id)
  local job = load(id)
  if job and job.status == 'queued' then
    end_failed(id, job, waited, cjson.encode({code = 'expired', message = waited, stage = cjson.null, retryable = true}))
    done[#done + 1] = {id, 'failed'}
  end
end
wake(done)
return {done, settle_kept_and_admit()}
