#!lua
-- A worker takes the lease of a dispatched job. fence: that of the hint. run: a nonce of this process and message. schema: the highest
-- that the worker knows. run_ms: the maximum run time. pool: the worker's ('': `default`). pipelines: those that the worker knows ('*': any),
-- each with a maximum run time of its own or ''.
--@args id fence:digits worker run schema:int run_ms:int pool? pipelines:pairs
--@settings events admits names leases
--@reply 'ok' record*
--@reply 'no' why hints
-- record: field, value, ... why: unknown, cancelled, completed, failed, running, stale, schema, pool, pipeline.
-- Only a job that is dispatched with this fence is given out: a hint that is late, doubled or old gets 'no' and the reason. Sent again by
-- the same run, the answer is the same.
local job = fields_of(K.job(id))
local function answer()
  complete_part(id, job)
  return flat_of(job, 'ok')
end
if not job.status then return {'no', 'unknown', {}} end
if job.status == 'running' and job.fence == fence and job.run == run then return answer() end
if job.status ~= 'queued' then return {'no', job.status, {}} end
if job.fence ~= fence or job.reason ~= 'dispatched' then return {'no', 'stale', {}} end
if tonumber(job.schema or '1') > schema then
  -- The hint is used up. The job gives its slot back at once and waits apart: jobs that this version can run go first.
  unhint(id, job)
  wait_apart(id)
  return {'no', 'schema', admit()}
end
-- As if the hint had not been sent: the job waits in its lane again, for a worker of its pool, or of a class that knows its pipeline.
local function refuse(why)
  hint_lost(id, job)
  return {'no', why, admit()}
end
if (job.pool or '') ~= pool then return refuse('pool') end
local known, longest = false, run_ms
for i = 1, #pipelines, 2 do
  if pipelines[i] == job.pipeline or pipelines[i] == '*' then known, longest = true, tonumber(pipelines[i + 1]) or longest end
end
if not known then return refuse('pipeline') end
start_run(id, job, worker, run, longest)
return answer()
