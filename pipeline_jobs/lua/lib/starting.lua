-- How a run begins: of a job whose hint a worker claims, and of one that a finish hands over.

-- Adds to the fields of a part what its run is given of its job and of its split. Of a split that is over nothing is left.
local OF_PARENT = {'url', 'quality', 'params', 'secret_params', 'request_id', 'traceparent', 'depends_on', 'parents', 'signalled'}
local function complete_part(id, job)
  if not job.part_of then return end
  local split, number = string.match(id, '^(.+)%.(%d+)$')
  local row = redis.call('HMGET', K.parts(split), 'stage', 'n', 'i:' .. number)
  -- Of a split that is over the id of the job may be another's.
  if not row[3] then return end
  local known = redis.call('HMGET', K.job(job.part_of), unpack(OF_PARENT))
  for i, name in ipairs(OF_PARENT) do job[name] = known[i] or nil end
  for name in string.gmatch(job.signalled or '', '[^,]+') do job['signal:' .. name] = redis.call('HGET', K.job(job.part_of), 'signal:' .. name) end
  job.part = cjson.encode({stage = row[1], number = tonumber(number), of = tonumber(row[2])})
  job.outputs = job.outputs or '[' .. row[3] .. ']'
end

-- What is over with the start, of those that a job has: of its wait, and of the run before.
local OF_WAIT = {'reason', 'stage', 'message', 'new_attempt', 'hint_soon', 'renewed_at'}
local function over_with_start(job)
  local names = {}
  for _, name in ipairs(OF_WAIT) do
    if job[name] then names[#names + 1] = name end
  end
  return names
end

-- dispatched -> running. job: all of its fields. run: a nonce of the process that will run it. longest: the maximum time of a run of its
-- pipeline in ms. The rest are other fields that changed.
local function start_run(id, job, worker, run, longest, ...)
  local before, over = use_pool(pool_of(job)), over_with_start(job)
  if not (job.started_at or job.part_of) then
    local waited = NOW - tonumber(job.created_at)
    observe('wait', job, waited)
    -- Buckets grow by a quarter: a quantile read from them is off by an eighth at most.
    local step = waited < 1 and 0 or math.ceil(math.log(waited) / math.log(1.25))
    record_usage(job, 'wait:' .. step, 0)
  end
  -- The first start has a field of its own: workers of the release before write every start into started_at.
  job.first_started_at = job.first_started_at or job.started_at or STAMP
  if job.new_attempt then
    -- A part's progress is part of its job's, which does not fall.
    job.attempt, job.progress, job.new_attempt = int((job.attempt or 0) + 1), job.part_of and job.progress or '0', nil
  end
  if job.reason == 'dispatched' then redis.call('ZREM', K.hints(), id) end
  if job.ttl_seconds or job.start_within_seconds then redis.call('ZREM', K.waits(), id) end
  if job.hint_soon then redis.call('ZREM', K.lost(), id .. ' ' .. job.pipeline) end
  redis.call('ZREM', K.ready_since(), id)
  redis.call('ZADD', K.leases(), NOW + LEASE_MS, id)
  count_run(worker, 1)
  -- Time of earlier runs counts, time in a queue does not. At the maximum the job is ended like one whose deadline has passed.
  longest = math.min(longest, 1000 * (limits_of(job.tenant_id).max_run_seconds or math.huge), 1000 * (tonumber(job.max_run_seconds) or math.huge))
  job.run_until = int(NOW + math.max(0, longest - tonumber(job.ran_ms or '0')))
  redis.call('ZADD', K.deadlines(), 'LT', job.run_until, id)
  move(id, job, 'running')
  job.worker, job.run, job.started_at, job.reason, job.stage, job.message = worker, run, STAMP, nil, nil, nil
  redis.call('HSET', K.job(id), 'status', job.status, 'worker', worker, 'run', run, 'started_at', job.started_at, 'first_started_at', job.first_started_at, 'attempt', job.attempt or '1',
    'progress', job.progress or '0', 'run_until', job.run_until, ...)
  if over[1] then redis.call('HDEL', K.job(id), unpack(over)) end
  event(id, job, 'started')
  use_pool(before)
end
