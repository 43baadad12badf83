-- How a job ends, and how a running one goes back.

-- The waiters of AsyncResult.get() listen on Celery's own channel for the JSON of the result meta.
local function publish(id, meta) redis.call('PUBLISH', 'celery-task-meta-' .. id, meta) end

local function exception_meta(id, state, kind, module, text)
  return '{"task_id":"' .. id .. '","status":"' .. state .. '","traceback":null,"children":[],"result":{"exc_type":"' .. kind
    .. '","exc_module":"' .. module .. '","exc_message":[' .. cjson.encode(text) .. ']}}'
end

-- Of a job with callbacks, a chain or a chord: a row with what is to be told of its end, until it has been told. The process that runs the job
-- tells it at once (its run ends it: `told_by_run`); what that one does not live to tell, and every other end, maintenance tells.
local TELL_MS = 10000
local function note_continuation(id, job, to, extra)
  if not job.celery or not string.find(job.celery, '"continues"', 1, true) then return end
  redis.call('HSET', K.continuation(id), 'status', to, 'tenant_id', job.tenant_id, 'workspace_id', job.workspace_id,
    'message', hint(id, job, job.fence or '0', job.celery), unpack(extra))
  redis.call('ZADD', K.continuations(), int(job.told_by_run and NOW + TELL_MS or NOW), id)
end

-- The one way into a terminal state. `extra` is a flat list of fields and values.
local function end_job(id, job, to, extra, meta)
  local expires = NOW + TTL_MS
  spend(45)
  if job.status == 'queued' then leave_queue(id, job) end
  local share = share_of(job.tenant_id, job.workspace_id, job.pipeline)
  if not release(id, job, to, ended_one_of(share)) then redis.call('HSET', K.share(job.tenant_id), 'rate', share.rate, 'rate_at', int(share.rate_at)) end
  local used = used_ms(job)
  if job.status == 'running' then observe('duration', job, used) end
  record_usage(job, to, used)
  move(id, job, to)
  redis.call('HSET', K.job(id), 'status', to, 'completed_at', int(NOW), 'expires_at', int(expires), 'ended_fence', job.fence or '0',
    'terminal_writes', int((job.terminal_writes or 0) + 1), unpack(extra))
  -- What only a live job needs does not lie in memory until the purge.
  redis.call('HDEL', K.job(id), 'reason', 'celery', 'charged', 'run', 'faults', 'run_until', 'ran_ms', 'class')
  redis.call('ZADD', K.ended(), expires, id)
  if job.deadline_at or job.run_until then redis.call('ZREM', K.deadlines(), id) end
  leave_upload(id, job)
  ended_one()
  local named_tenant, named_workspace = series_of(job.tenant_id, job.workspace_id)
  count('completed', named_tenant, named_workspace, to)
  publish(id, meta)
  local number = end_event(id, job, to)
  if job.batch_id then end_of_batch(job.batch_id) end
  note_end(id, to)
  note_continuation(id, job, to, extra)
  outbox_job(id, job, to, number)
end

-- error, detail: why, if nobody asked for it.
local function end_cancelled(id, job, error, detail)
  local extra = {'cancel_requested', '1'}
  if error then
    job.error, job.error_code = error, cjson.decode(detail).code
    extra = {'cancel_requested', '1', 'error', error, 'error_detail', detail}
  end
  end_job(id, job, 'cancelled', extra,
    exception_meta(id, 'REVOKED', 'TaskRevokedError', 'celery.exceptions', error or 'cancelled'))
end

local function end_failed(id, job, error, detail)
  job.error, job.error_code = error, cjson.decode(detail).code
  end_job(id, job, 'failed', {'error', error, 'error_detail', detail}, exception_meta(id, 'FAILURE', 'JobFailed', 'pipeline_jobs.worker.result', error))
end

-- A cancel: a queued job ends now, a running one when its worker has stopped it, an ended one is left alone.
local function ask_to_end(id, job)
  if job.status == 'queued' then
    end_cancelled(id, job)
  elseif job.status == 'running' and not job.cancel_requested then
    redis.call('HSET', K.job(id), 'cancel_requested', '1')
    event(id, job, 'cancel_requested', job.message)
  end
end

local DEADLINE = 'the job did not end before its deadline'
local TOO_LONG = 'the job ran longer than a job may'

-- Whether something has asked for the job's end before its run could end it; a cancel outranks a deadline. Returns the status it ended in.
local function stopped(id, job)
  if job.cancel_requested then
    end_cancelled(id, job)
    return 'cancelled'
  elseif job.deadline_passed then
    local code, error = 'deadline_exceeded', DEADLINE
    if job.deadline_passed == 'run' then code, error = 'run_too_long', TOO_LONG end
    end_failed(id, job, error, cjson.encode({code = code, message = error, stage = job.stage or cjson.null, retryable = false}))
    return 'failed'
  end
end

-- running -> queued. Its fence stays until the next dispatch: a run that still lives is refused because the status is not `running`.
-- why: crash, retry, handback or fault, for the log; warning: what it says in the place of the job's message.
local function back_to_queue(id, job, reason, delay_ms, why, warning)
  -- What a broken machine took is not the job's.
  spend(25)
  if why ~= 'fault' then redis.call('HINCRBY', K.job(id), 'ran_ms', int(used_ms(job))) end
  if job.run_until then
    redis.call('HDEL', K.job(id), 'run_until')
    if job.deadline_at then redis.call('ZADD', K.deadlines(), job.deadline_at, id) else redis.call('ZREM', K.deadlines(), id) end
  end
  release(id, job)
  move(id, job, 'queued')
  redis.call('HSET', K.job(id), 'status', 'queued', 'reason', reason)
  if delay_ms > 0 then
    redis.call('ZADD', K.delayed(), NOW + delay_ms, id)
  else
    make_ready(id, job)
  end
  event(id, job, 'requeued', warning or job.message, why)
end

-- Hand-backs have no limit, so they are not to go on unseen: they are counted, and from the tenth on the job's log warns. n: how many of its kind.
local function handed_back(id, why, n)
  count('handbacks', why)
  if n >= 10 then return 'warning: handed back ' .. int(n) .. ' times' end
end

-- What a run without a say may have published is visible to nobody: each run has a folder of its own.
local function discard(id, job, fence)
  local folder = table.concat({job.tenant_id, job.workspace_id, id, fence}, '/')
  if folder ~= job.artifacts then redis.call('RPUSH', K.trash(), folder) end
end

-- A worker died with the job: again, until it died too often. Returns what became of the job.
local function crashed(id, job, error, detail)
  discard(id, job, job.fence)
  local ended = stopped(id, job)
  if ended then return ended end
  local crashes = redis.call('HINCRBY', K.job(id), 'crashes', 1)
  count('crashes')
  if crashes >= MAX_CRASHES then
    end_failed(id, job, error, detail)
    return 'failed'
  end
  back_to_queue(id, job, 'retry', 0, 'crash')
  -- Its lease ended: the worker died, not the job's own process.
  if job.ran_until then redis.call('ZADD', K.lost(), job.order, id .. ' ' .. job.pipeline) end
  return 'queued'
end

-- Take an ended job out of everything.
local function remove(id, job)
  unindex(id, job)
  redis.call('ZREM', K.ended(), id)
  redis.call('DEL', K.job(id), K.events(id))
  -- The fences of a later job of this id are later ones, even if the clock was set back and orders go up by one.
  if tonumber(job.fence or '0') > tonumber(redis.call('GET', K.order()) or '0') then redis.call('SET', K.order(), job.fence) end
  if job.artifacts then
    redis.call('RPUSH', K.trash(), job.artifacts)
    redis.call('HINCRBY', K.usage(job.tenant_id), 'artifact_bytes', -tonumber(job.artifact_bytes or '0'))
  end
end
