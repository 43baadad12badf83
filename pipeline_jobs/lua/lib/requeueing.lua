-- How a running job goes back to the queue, and what becomes of the files of the run that had it.

-- From now on a job waits there ('': in `default`).
local function go_to_pool(id, job, pool)
  job.pool = pool ~= '' and pool or nil
  if job.pool then redis.call('HSET', K.job(id), 'pool', pool) else redis.call('HDEL', K.job(id), 'pool') end
end

-- running -> queued. The fence stays until the next dispatch: a run that is still alive is refused because the status is not `running`.
-- reason: why the job waits now. why: crash, retry, handback, fault, signal or hop, for the job's log. warning: a message for the log in
-- place of the job's own. pool: where it waits from now on ('': `default`; nil: where it was). A run that has come to the end of its segment
-- (hop) has taken as long as such runs take. Returns the number of the event.
local function back_to_queue(id, job, reason, delay_ms, why, warning, pool)
  spend(30)
  -- Time on a broken machine does not count against the job's longest run, nor as its tenant's.
  if why ~= 'fault' then
    local used = used_ms(job)
    redis.call('HINCRBY', K.job(id), 'ran_ms', int(used))
    record_usage(job, nil, used)
  end
  -- Only the run that follows is apart.
  if job.apart_ms then redis.call('HDEL', K.job(id), 'apart_ms') end
  if job.suspected and (why == 'hop' or why == 'signal' or why == 'parts') then redis.call('HDEL', K.job(id), 'suspected') end
  if job.run_until then
    redis.call('HDEL', K.job(id), 'run_until')
    if job.deadline_at then redis.call('ZADD', K.deadlines(), job.deadline_at, id) else redis.call('ZREM', K.deadlines(), id) end
  end
  release(id, job, why == 'hop' and 'completed')
  if pool and pool ~= (job.pool or '') then go_to_pool(id, job, pool) end
  move(id, job, 'queued')
  redis.call('HSET', K.job(id), 'status', 'queued', 'reason', reason)
  if delay_ms > 0 then
    redis.call('ZADD', K.delayed(), NOW + delay_ms, id)
  else
    make_ready(id, job)
  end
  return event(id, job, 'requeued', warning or job.message, why)
end

-- How long a job waits that no machine could go on with, in ms, and how many times in a row that has been so.
local function fault_delay(id)
  local faults = redis.call('HINCRBY', K.job(id), 'faults', 1)
  return math.min(1000 * 2 ^ (faults - 1), 300000), faults
end

-- Hand-backs have no limit, so they must not go unnoticed: they are counted, and from the tenth on the job's log has a warning.
-- n: the number of this job's hand-backs of this kind. Returns the warning, or nil.
local function handed_back(id, why, n)
  count('handbacks', why)
  if n >= 10 then return 'warning: handed back ' .. int(n) .. ' times' end
end

-- Deletes what a run published that has lost the job. Nobody has seen it: each run has its own folder, and only `finish` writes the folder
-- into the record.
local function discard(id, job, fence)
  local folder = table.concat({job.tenant_id, job.workspace_id, id, fence}, '/')
  if folder ~= job.artifacts then redis.call('RPUSH', K.trash(), folder) end
end
