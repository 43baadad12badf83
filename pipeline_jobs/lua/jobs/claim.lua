#!lua
-- A worker takes the lease of a dispatched job. fence: that of the hint. run: a nonce of this process and message. schema: the highest
-- that the worker knows. run_ms: the maximum run time. pipelines: those that the worker knows ('*': any), each with a maximum run time of
-- its own or ''.
--@args id fence:digits worker run schema:int run_ms:int pipelines:pairs
--@settings events admits names leases
--@reply 'ok' record*
--@reply 'no' why hints
-- record: field, value, ... why: unknown, cancelled, completed, failed, running, stale, schema, pipeline.
-- Only a job that is dispatched with this fence is given out: a hint that is late, doubled or old gets 'no' and the reason. Sent again by
-- the same run, the answer is the same.
local job = fields_of(K.job(id))
local function answer()
  local flat = {'ok'}
  for name, value in pairs(job) do
    flat[#flat + 1] = name
    flat[#flat + 1] = value
  end
  return flat
end
if not job.status then return {'no', 'unknown', {}} end
if job.status == 'running' and job.fence == fence and job.run == run then return answer() end
if job.status ~= 'queued' then return {'no', job.status, {}} end
if job.fence ~= fence or job.reason ~= 'dispatched' then return {'no', 'stale', {}} end
if tonumber(job.schema or '1') > schema then
  -- The hint is used up. The job gives its slot back at once and waits apart: jobs that this version can run go first.
  unhint(id, job)
  wait_apart(id)
  return {'no', 'schema', {}}
end
local known, longest = false, run_ms
for i = 1, #pipelines, 2 do
  if pipelines[i] == job.pipeline or pipelines[i] == '*' then known, longest = true, tonumber(pipelines[i + 1]) or longest end
end
if not known then
  -- As if the hint had not been sent: the job waits in its lane again, for a worker of a class that knows its pipeline.
  unhint(id, job)
  redis.call('HSET', K.job(id), 'reason', 'fair_share')
  make_ready(id, job)
  return {'no', 'pipeline', admit()}
end

if not job.started_at then
  local waited = NOW - tonumber(job.created_at)
  observe('wait', job, waited)
  -- Buckets grow by a quarter: a quantile read from them is off by an eighth at most.
  local step = waited < 1 and 0 or math.ceil(math.log(waited) / math.log(1.25))
  local day = K.usage_day(job.tenant_id, int(math.floor(NOW / 86400000)))
  if redis.call('HINCRBY', day, 'wait:' .. step, 1) == 1 then redis.call('EXPIRE', day, 34560000) end
end
-- The first start has a field of its own: workers of the release before write every start into started_at.
job.first_started_at = job.first_started_at or job.started_at or int(NOW)
if job.new_attempt then
  job.attempt, job.progress, job.new_attempt = int((job.attempt or 0) + 1), '0', nil
end
redis.call('ZREM', K.hints(), id)
redis.call('ZREM', K.waits(), id)
redis.call('ZREM', K.ready_since(), id)
redis.call('ZADD', K.leases(), NOW + LEASE_MS, id)
redis.call('HINCRBY', K.running(), worker, 1)
if not redis.call('ZSCORE', K.workers(), worker) then redis.call('INCR', K.stranded()) end
-- Time of earlier runs counts, time in a queue does not. At the maximum the job is ended like one whose deadline has passed.
longest = math.min(longest, 1000 * (limits_of(job.tenant_id).max_run_seconds or math.huge), 1000 * (tonumber(job.max_run_seconds) or math.huge))
job.run_until = int(NOW + math.max(0, longest - tonumber(job.ran_ms or '0')))
redis.call('ZADD', K.deadlines(), 'LT', job.run_until, id)
move(id, job, 'running')
job.worker, job.run, job.started_at, job.reason, job.stage, job.message = worker, run, int(NOW), nil, nil, nil
redis.call('HSET', K.job(id), 'status', job.status, 'worker', worker, 'run', run, 'started_at', job.started_at, 'first_started_at', job.first_started_at, 'attempt', job.attempt or '1',
  'progress', job.progress or '0', 'run_until', job.run_until)
redis.call('HDEL', K.job(id), 'reason', 'stage', 'message', 'new_attempt')
event(id, job, 'started')
return answer()
