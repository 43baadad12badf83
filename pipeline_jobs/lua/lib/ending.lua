-- How a job ends, and how an ended job is removed.

local function exception_meta(id, state, kind, module, text)
  return '{"task_id":"' .. id .. '","status":"' .. state .. '","traceback":null,"children":[],"result":{"exc_type":"' .. kind
    .. '","exc_module":"' .. module .. '","exc_message":[' .. cjson.encode(text) .. ']}}'
end

-- A job with callbacks, a chain or a chord leaves a row that stays until Celery has been told of its end. The process that runs the job
-- tells it at once, if its own call ended the job (`told_by_run`). What that process does not live to tell, and every other end, is told
-- by maintenance. While the end of an earlier job with this id is untold, that one has the row: then a row with the fence in its name is
-- made, which workers of the release before leave alone.
local TELL_MS = 10000
local function note_continuation(id, job, to, extra)
  if not job.celery or not string.find(job.celery, '"continues"', 1, true) then return end
  local key, name, fence = K.continuation(id), id, job.fence or job.order
  if redis.call('EXISTS', key) == 1 then key, name = K.later_continuation(id, fence), id .. '@' .. fence end
  redis.call('HSET', key, 'status', to, 'tenant_id', job.tenant_id, 'workspace_id', job.workspace_id, 'fence', fence,
    'message', hint(id, job, job.fence or '0', job.celery), unpack(extra))
  redis.call('ZADD', K.continuations(), int(job.told_by_run and NOW + TELL_MS or NOW), name)
end

-- Most ends concern nobody else: no job waits for this one, its tenant has no webhook endpoints, and its pool no jobs that were lost. All
-- three are asked at once; whoever asks for one of them later in the script knows the answer.
local function concerns_others(id, job)
  local tenant = job.tenant_id
  if endpoints_of[tenant] and endpoints_of[tenant][1] then return true end
  local before = use_pool(pool_of(job))
  local some = redis.call('EXISTS', K.dependents(id), K.tenant_endpoints(tenant), K.lost()) > 0
  if not some then endpoints_of[tenant], here.lost = {}, false end
  use_pool(before)
  return some
end

-- The only function that writes a terminal status. `extra` is a flat list of fields and values. With a job end its parts.
local function end_job(id, job, to, extra, meta)
  if job.part_of then return end_part(id, job, to, extra[4]) end
  local expires = NOW + TTL_MS
  spend(45)
  if job.status == 'queued' then
    leave_queue(id, job)
    redis.call('HSET', K.share(job.tenant_id), ended_one_of(job.tenant_id, POOL == '' and here.shares and here.shares[job.tenant_id]))
  else
    local share = common_of(job.tenant_id, job.workspace_id, job.pipeline)
    if not release(id, job, to, ended_one_of(job.tenant_id, share)) then redis.call('HSET', K.share(job.tenant_id), 'rate', share.rate, 'rate_at', int(share.rate_at)) end
  end
  local used = used_ms(job)
  if job.status == 'running' then observe('duration', job, used + (job.segments_ms or 0)) end
  local ended_today = record_usage(job, to, used)
  move(id, job, to)
  -- What a run told last is written with its end (see tell), which outranks it.
  local changed = job.told or {}
  for _, value in ipairs(extra) do changed[#changed + 1] = value end
  redis.call('HSET', K.job(id), 'status', to, 'completed_at', STAMP, 'expires_at', int(expires), 'ended_fence', job.fence or '0',
    'terminal_writes', int((job.terminal_writes or 0) + 1), unpack(changed))
  -- A short result is part of the record's charge.
  local bytes = bytes_of(0, extra)
  if bytes > 200 then job.store_bytes = owe(job.tenant_id, bytes, id) end
  -- Fields that only a live job needs do not stay in memory until the purge. One that was never dispatched has few of them. To look for one
  -- that the record lacks takes longer than to remove one that it has.
  local live, over = {'reason', 'celery', 'charged', 'run', 'run_until', 'class', 'faults', 'segments_ms', 'apart_ms', 'beside', 'suspected', 'hop_stage',
    'lost_runs', 'renewed_at', 'ran_ms'}, {}
  for i, name in ipairs(live) do
    if (job.fence and i <= #live - HISTORY or i <= 2) and (job[name] or not job.whole) then over[#over + 1] = name end
  end
  if over[1] then redis.call('HDEL', K.job(id), unpack(over)) end
  if HISTORY == 1 and job.tenant_id ~= CANARY then
    -- The earlier runs' time stays for the history (`ran_ms`), and the last one's comes to it.
    if used > 0 then redis.call('HINCRBY', K.job(id), 'ran_ms', int(used)) end
    redis.call('ZADD', K.unmoved(job.tenant_id), STAMP, id)
    redis.call('ZADD', K.unmoved_tenants(), 'NX', STAMP, job.tenant_id)
  end
  redis.call('ZADD', K.ended(), expires, id)
  if job.deadline_at or job.run_until then redis.call('ZREM', K.deadlines(), id) end
  if job.upload then redis.call('SREM', K.upload_jobs(job.upload), id) end
  if job.split then retire_split(id, job, HISTORY == 1) end
  local named_tenant, named_workspace = series_of(job.tenant_id, job.workspace_id)
  count('completed', named_tenant, named_workspace, to)
  -- AsyncResult.get() waits on Celery's own channel for the JSON of the result's meta. An installation that shares its server has the channel
  -- with its prefix (`Settings.celery_prefix`): ids that clients choose may be the same in two of them.
  redis.call('PUBLISH', (P == 'pj:' and '' or P) .. 'celery-task-meta-' .. id, meta)
  if to == 'completed' then job.progress = '100' end
  local number = event(id, job, to, job.error, job.error_code)
  -- The end is the last event of every job, so the expiry of a feed is renewed only here: with a day's first ends of a kind, and then with
  -- every sixteenth. It is there for a week after the last end.
  if FEED_MOST > 0 and (ended_today <= 16 or ended_today % 16 == 0) then redis.call('EXPIRE', K.feed(job.tenant_id), EIGHT_DAYS) end
  if job.batch_id then end_of_batch(job.batch_id) end
  if concerns_others(id, job) then note_end(id, to) end
  note_continuation(id, job, to, extra)
  outbox_job(id, job, to, number)
end

-- error, detail: the cause, if no client asked for the cancel.
local function end_cancelled(id, job, error, detail)
  local extra = {'cancel_requested', '1'}
  if error then
    job.error, job.error_code = error, cjson.decode(detail).code
    extra = {'cancel_requested', '1', 'error', error, 'error_detail', detail}
  elseif job.cancel_call then
    extra = {'cancel_requested', '1', 'cancel_call', job.cancel_call}
  end
  end_job(id, job, 'cancelled', extra,
    exception_meta(id, 'REVOKED', 'TaskRevokedError', 'celery.exceptions', error or 'cancelled'))
end

local function end_failed(id, job, error, detail)
  job.error, job.error_code = error, cjson.decode(detail).code
  end_job(id, job, 'failed', {'error', error, 'error_detail', detail}, exception_meta(id, 'FAILURE', 'JobFailed', 'pipeline_jobs.worker.result', error))
end

local DEADLINE = 'the job did not end before its deadline'
local TOO_LONG = 'the job ran longer than a job may'

-- Ends the job if something asked for its end before its run could end it; a cancel outranks a deadline. Returns the status in which it
-- ended, or nil.
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

-- Removes an ended job, with all its index entries. keep: its artifacts stay until their own time.
local function remove_job(id, job, keep)
  unindex(id, job)
  owe(job.tenant_id, -(job.store_bytes or 0))
  redis.call('ZREM', K.ended(), id)
  redis.call('ZREM', K.unmoved(job.tenant_id), id)
  local stays = job.artifacts and keep and tonumber(job.artifacts_expire_at or '0') > NOW
  local reuse_keys = stays and redis.call('HGET', K.job(id), 'reuse_keys')
  redis.call('DEL', K.job(id), K.events(id), K.logs(id))
  -- The fences of a later job with this id must be higher, even if the clock was set back and orders go up by one.
  if tonumber(job.fence or '0') > tonumber(redis.call('GET', K.order()) or '0') then redis.call('SET', K.order(), job.fence) end
  if stays then
    keep_folder(id, job, reuse_keys)
  elseif job.artifacts then
    drop_files(id, job.artifacts)
    redis.call('HINCRBY', K.usage(job.tenant_id), 'artifact_bytes', -tonumber(job.artifact_bytes or '0'))
  end
end
