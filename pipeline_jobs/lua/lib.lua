-- Shared by every script that writes. No user text ever reaches an error message of these.
-- The last four arguments of each script are the admission's: cap over all workers, hint time (ms), broker list, hint template.
local N = #ARGV
local CAP, HINT_MS, QUEUE, TEMPLATE = tonumber(ARGV[N - 3]), tonumber(ARGV[N - 2]), ARGV[N - 1], ARGV[N]

local TIME = redis.call('TIME')
local NOW = TIME[1] * 1000 + math.floor(TIME[2] / 1000)

-- Lua prints numbers with 14 digits: an order has 16.
local function int(number) return string.format('%.0f', number) end

local FIELDS = {'status', 'fence', 'order', 'tenant_id', 'workspace_id', 'pipeline', 'priority', 'reason', 'cancel_requested',
  'crashes', 'created_at', 'started_at', 'worker', 'artifacts', 'artifact_bytes', 'celery', 'nonce', 'ended_fence', 'deadline_at', 'deadline_passed',
  'stage'}

-- The fields that decide, as a table; nil if there is no such job.
local function load(id)
  local values = redis.call('HMGET', K.job(id), unpack(FIELDS))
  if not values[1] then return nil end
  local job = {}
  for i, name in ipairs(FIELDS) do job[name] = values[i] or nil end
  return job
end

local function count(...)
  redis.call('HINCRBY', K.counters(), table.concat({...}, '|'), 1)
end

-- Upper bounds in ms of the histograms; the metrics module has the same list in seconds.
local BUCKETS = {100, 500, 1000, 2500, 5000, 10000, 30000, 60000, 120000, 300000, 600000, 1800000, 3600000, 14400000}

local function observe(name, job, ms)
  local bucket = 'inf'
  for _, bound in ipairs(BUCKETS) do
    if ms <= bound then bucket = int(bound) break end
  end
  count(name, job.tenant_id, job.workspace_id, bucket)
  redis.call('HINCRBY', K.counters(), table.concat({name .. '_sum', job.tenant_id, job.workspace_id}, '|'), int(ms))
end

local function move(id, job, to)
  redis.call('ZREM', K.status(job.status), id)
  redis.call('ZREM', K.tenant_status(job.tenant_id, job.status), id)
  redis.call('ZADD', K.status(to), job.order, id)
  redis.call('ZADD', K.tenant_status(job.tenant_id, to), job.order, id)
  job.status = to
end

-- Equal scores sort by member: priority first, then order.
local function ready_member(id, job) return string.format('%016.0f', tonumber(job.order)) .. ':' .. id end

local function make_ready(id, job)
  redis.call('ZADD', K.ready(), -tonumber(job.priority or '0'), ready_member(id, job))
end

-- A lease ends. A worker that is gone from `workers` has its leases counted as stranded (see prune_workers).
local function release(id, job)
  if redis.call('ZREM', K.leases(), id) == 1 and job.worker then
    if redis.call('HINCRBY', K.running(), job.worker, -1) <= 0 then redis.call('HDEL', K.running(), job.worker) end
    if not redis.call('ZSCORE', K.workers(), job.worker) then redis.call('DECR', K.stranded()) end
  end
end

local function leave_queue(id, job)
  redis.call('ZREM', K.ready(), ready_member(id, job))
  redis.call('ZREM', K.delayed(), id)
  redis.call('ZREM', K.hints(), id)
  redis.call('ZREM', K.waits(), id)
end

-- How fast jobs end, as a mean that forgets within a minute: what an honest Retry-After is made of.
local DRAIN_MS = 60000
local function drained(who)
  local before = redis.call('HMGET', K.drain(who), 'rate', 'at')
  local elapsed = NOW - tonumber(before[2] or '0')
  local rate = tonumber(before[1] or '0') * math.exp(-elapsed / DRAIN_MS) + 1000 / DRAIN_MS
  redis.call('HSET', K.drain(who), 'rate', string.format('%.6f', rate), 'at', int(NOW))
end

-- Seconds until a place in the queue should be free, 1 to 300.
local function retry_after(who)
  local known = redis.call('HMGET', K.drain(who), 'rate', 'at')
  local rate = tonumber(known[1] or '0') * math.exp(-(NOW - tonumber(known[2] or '0')) / DRAIN_MS)
  if rate <= 1 / 300 then return 300 end
  return math.max(1, math.ceil(1 / rate))
end

-- The waiters of AsyncResult.get() listen on Celery's own channel for the JSON of the result meta.
local function publish(id, meta) redis.call('PUBLISH', 'celery-task-meta-' .. id, meta) end

local function exception_meta(id, state, kind, module, text)
  return '{"task_id":"' .. id .. '","status":"' .. state .. '","traceback":null,"children":[],"result":{"exc_type":"' .. kind
    .. '","exc_module":"' .. module .. '","exc_message":[' .. cjson.encode(text) .. ']}}'
end

-- The one way into a terminal state. `extra` is a flat list of fields and values.
local function end_job(id, job, to, ttl_ms, extra, meta)
  local expires = NOW + tonumber(ttl_ms)
  leave_queue(id, job)
  release(id, job)
  if job.status == 'running' then observe('duration', job, NOW - tonumber(job.started_at)) end
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

-- Workers whose announcement ended: their slots are gone, and the leases they hold fill nobody's slot.
local function prune_workers()
  for _, worker in ipairs(redis.call('ZRANGEBYSCORE', K.workers(), '-inf', int(NOW))) do
    redis.call('ZREM', K.workers(), worker)
    redis.call('DECRBY', K.capacity(), tonumber(redis.call('HGET', K.slots(), worker) or '0'))
    redis.call('HDEL', K.slots(), worker)
    redis.call('INCRBY', K.stranded(), tonumber(redis.call('HGET', K.running(), worker) or '0'))
  end
end

local function free_slots()
  prune_workers()
  local running, hinted = redis.call('ZCARD', K.leases()), redis.call('ZCARD', K.hints())
  local capacity = tonumber(redis.call('GET', K.capacity()) or '0')
  local stranded = tonumber(redis.call('GET', K.stranded()) or '0')
  return math.min(capacity - (running - stranded), CAP - running) - hinted
end

-- Fills @ID@ and its like in a hint; every value is made of safe characters, so the JSON stays JSON.
local function hint(id, job, fence)
  local values = {ID = id, FENCE = int(fence), TAG = id .. '.' .. int(fence), TENANT = job.tenant_id, WORKSPACE = job.workspace_id, PIPELINE = job.pipeline}
  return (string.gsub(job.celery or TEMPLATE, '@(%u+)@', values))
end

-- Admission: while a slot is free and a job is ready, dispatch the one whose turn it is. Every script ends with it.
-- Where the broker is not this server (TEMPLATE is empty), the hints to publish are returned: id, fence, tenant, workspace, pipeline, message.
local function admit()
  local hints = {}
  local free = free_slots()
  while free > 0 do
    local first = redis.call('ZPOPMIN', K.ready())
    if not first[1] then break end
    local id = string.sub(first[1], 18)
    local job = load(id)
    if job and job.status == 'queued' then
      local fence = redis.call('HINCRBY', K.job(id), 'fence', 1)
      redis.call('HSET', K.job(id), 'reason', 'dispatched')
      redis.call('ZADD', K.hints(), int(NOW + HINT_MS), id)
      if TEMPLATE ~= '' then
        redis.call('LPUSH', QUEUE, hint(id, job, fence))
      else
        hints[#hints + 1] = {id, int(fence), job.tenant_id, job.workspace_id, job.pipeline, job.celery or ''}
      end
      free = free - 1
    end
  end
  return hints
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
