-- How a job ends, and how a running one goes back.

-- The waiters of AsyncResult.get() listen on Celery's own channel for the JSON of the result meta.
local function publish(id, meta) redis.call('PUBLISH', 'celery-task-meta-' .. id, meta) end

local function exception_meta(id, state, kind, module, text)
  return '{"task_id":"' .. id .. '","status":"' .. state .. '","traceback":null,"children":[],"result":{"exc_type":"' .. kind
    .. '","exc_module":"' .. module .. '","exc_message":[' .. cjson.encode(text) .. ']}}'
end

-- Figures of a tenant's day: jobs by status, slot-ms.
local function record_usage(job, to, used)
  local day = K.usage_day(job.tenant_id, int(math.floor(NOW / 86400000)))
  redis.call('HINCRBY', day, to, 1)
  if used > 0 then redis.call('HINCRBY', day, 'slot_ms', int(used)) end
  redis.call('EXPIRE', day, 34560000)
end

-- The one way into a terminal state. `extra` is a flat list of fields and values.
local function end_job(id, job, to, ttl_ms, extra, meta)
  local expires = NOW + tonumber(ttl_ms)
  if job.status == 'queued' then leave_queue(id, job) end
  release(id, job)
  local used = used_ms(job)
  if job.status == 'running' then
    observe('duration', job, used)
    if to == 'completed' then learn(job.pipeline, used) end
  end
  record_usage(job, to, used)
  move(id, job, to)
  redis.call('HSET', K.job(id), 'status', to, 'completed_at', int(NOW), 'expires_at', int(expires), 'ended_fence', job.fence or '0', unpack(extra))
  redis.call('HDEL', K.job(id), 'reason', 'celery')
  redis.call('HINCRBY', K.job(id), 'terminal_writes', 1)
  redis.call('ZADD', K.ended(), int(expires), id)
  redis.call('ZREM', K.deadlines(), id)
  drained('all')
  drained('tenant:' .. job.tenant_id)
  count('completed', job.tenant_id, job.workspace_id, to)
  publish(id, meta)
end

local function end_cancelled(id, job, ttl_ms)
  end_job(id, job, 'cancelled', ttl_ms, {'cancel_requested', '1'}, exception_meta(id, 'REVOKED', 'TaskRevokedError', 'celery.exceptions', 'cancelled'))
end

local function end_failed(id, job, ttl_ms, error, detail)
  end_job(id, job, 'failed', ttl_ms, {'error', error, 'error_detail', detail}, exception_meta(id, 'FAILURE', 'JobFailed', 'pipeline_jobs.worker.result', error))
end

-- A cancel: a queued job ends now, a running one when its worker has stopped it, an ended one is left alone. Returns the status it is in then.
local function ask_to_end(id, job, ttl_ms)
  if job.status == 'queued' then
    end_cancelled(id, job, ttl_ms)
  elseif job.status == 'running' then
    redis.call('HSET', K.job(id), 'cancel_requested', '1')
  end
  return job.status
end

local DEADLINE = 'the job did not end before its deadline'

-- Whether something has asked for the job's end before its run could end it; a cancel outranks a deadline. Returns the status it ended in.
local function stopped(id, job, ttl_ms)
  if job.cancel_requested then
    end_cancelled(id, job, ttl_ms)
    return 'cancelled'
  elseif job.deadline_passed then
    end_failed(id, job, ttl_ms, DEADLINE, cjson.encode({code = 'deadline_exceeded', message = DEADLINE, stage = job.stage or cjson.null, retryable = false}))
    return 'failed'
  end
end

-- running -> queued. Its fence stays until the next dispatch: a run that still lives is refused because the status is not `running`.
local function back_to_queue(id, job, reason, delay_ms)
  release(id, job)
  move(id, job, 'queued')
  redis.call('HSET', K.job(id), 'status', 'queued', 'reason', reason)
  if delay_ms > 0 then
    redis.call('ZADD', K.delayed(), int(NOW + delay_ms), id)
  else
    make_ready(id, job)
  end
end

-- A worker died with the job: again, until it died too often. Returns what became of the job.
local function crashed(id, job, max_crashes, ttl_ms, error, detail)
  -- What the dead run may have published is visible to nobody; each run has a folder of its own.
  redis.call('RPUSH', K.trash(), table.concat({job.tenant_id, job.workspace_id, id, job.fence}, '/'))
  local ended = stopped(id, job, ttl_ms)
  if ended then return ended end
  local crashes = redis.call('HINCRBY', K.job(id), 'crashes', 1)
  count('crashes')
  if crashes >= max_crashes then
    end_failed(id, job, ttl_ms, error, detail)
    return 'failed'
  end
  back_to_queue(id, job, 'retry', 0)
  return 'queued'
end

-- Take an ended job out of everything.
local function remove(id, job)
  redis.call('DEL', K.job(id))
  redis.call('ZREM', K.jobs(), id)
  redis.call('ZREM', K.ended(), id)
  redis.call('ZREM', K.status(job.status), id)
  redis.call('ZREM', K.tenant(job.tenant_id), id)
  redis.call('ZREM', K.tenant_status(job.tenant_id, job.status), id)
  redis.call('ZREM', K.workspace(job.tenant_id, job.workspace_id), id)
  if job.artifacts then
    redis.call('RPUSH', K.trash(), job.artifacts)
    redis.call('HINCRBY', K.usage(job.tenant_id), 'artifact_bytes', -tonumber(job.artifact_bytes or '0'))
  end
end
