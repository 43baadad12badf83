#!lua flags=allow-oom
-- A run ends its job. Compare-and-set on (id, fence); sent again, the answer is the same.
-- outcome: completed | failed | cancelled. result, detail, meta (the result's) and outputs (of the stages, as in the record) are JSON.
-- folder, bytes: of the artifacts. copy: some are still to be copied elsewhere. drive_url: where the copy of its film is. blobs: of the outputs. worker, next_run: the process would run the next job itself, with this nonce
-- (''; it would not), if it is of these pipelines (`;name:ms;name:ms;`, each with the maximum time of a run) and of no higher schema.
-- From `percent` on: the run's last progress, as for progress.
--@args id fence:digits outcome result error detail folder? bytes:int meta outputs? blobs? copy:flag drive_url?
--@args worker? next_run? schema:int pipelines?
--@args percent:decimal? stage message passed:pairs
--@settings events admits names kept files leases
--@reply status hints record*
-- status: the job's status afterwards, or 'fenced' (the run has lost the job). If a cancel was requested or the deadline has passed
-- before, the job ends so: either the cancel wins or the finish, never both. record: of the next job, or nothing.

local job = load_whole(id)
-- The next job is of the pool that the worker serves.
local own_pool = job and pool_of(job) or ''

-- Sent again, the finish hands over the same job. One that is sent the first time finds none: its nonce is new. No index is kept for it.
local function handed_over()
  local found = {}
  local function look()
    for _, other in ipairs(next_run ~= '' and not found[1] and redis.call('ZRANGE', K.leases(), 0, -1) or {}) do
      local known = redis.call('HMGET', K.job(other), 'worker', 'run')
      if known[1] == worker and known[2] == next_run then
        local taken = fields_of(K.job(other))
        complete_part(other, taken)
        found = flat_of(taken)
      end
    end
  end
  -- The job may have been removed since.
  in_each_pool(look)
  return found
end

-- Whether the process that ends this job may run another one. That one stays with its hint if it has a message of its own (callbacks and
-- chords need Celery's), if it is another class's or this worker does not know it, or if the worker has more runs than slots: it shrinks, is
-- paused, or leaves; in another pool than its own it has none. Returns where the maximum time of its pipeline's runs stands.
local function may_run(pipeline, message, of_schema, class)
  local _, at = string.find(pipelines, ';' .. pipeline .. ':', 1, true)
  if not at or message or tonumber(of_schema or '1') > schema then return nil end
  if class ~= '' and class ~= redis.call('HGET', K.class_of(), worker) then return nil end
  local running = here.runs and here.runs[worker] or redis.call('HGET', K.running(), worker)
  return tonumber(running or '0') < tonumber(announced(worker) or '0') and at
end

-- The hint of a job that has crashed may lie with a worker that has died, too. A process that asks is there: the first such job that it may
-- run is its next one, and the hint is stale.
local function ask_for_crashed()
  use_pool(own_pool)
  if not any_lost() then return end
  local hinted = redis.call('ZRANGEBYSCORE', K.lost(), int(HINTED), '+inf', 'LIMIT', 0, LOST_MOST)
  -- To one whose announcement has ended the next job would be refused.
  if not hinted[1] or tonumber(redis.call('ZSCORE', K.workers(), worker) or '0') <= NOW then return end
  for _, member in ipairs(hinted) do
    local other, pipeline = string.match(member, '^(%S+) (%S+)$')
    local known = redis.call('HMGET', K.job(other), 'status', 'reason', 'celery', 'schema', 'class')
    local waits = known[1] == 'queued' and known[2] == 'dispatched'
    if waits and may_run(pipeline, known[3], known[4], known[5] or '') then return hint_lost(other, load(other)) end
    spend(5)
  end
end

-- The next job starts in the process that ends this one.
local record
local function take(other, next_job, next_fence, class, known, changed)
  local at = not record and may_run(next_job.pipeline, known[3], known[6], class)
  if not at then return false end
  local charged = dispatched(other, next_job, nil, unpack(changed))
  -- It never has a hint: what a claim would find written goes into the record with the start.
  record = known.record or fields_of(K.job(other))
  record.class = known.class or record.class
  record.fence, record.charged = next_fence, charged
  start_run(other, record, worker, next_run, tonumber(string.match(pipelines, '^%d+', at + 1)), 'fence', next_fence, 'charged', charged)
  complete_part(other, record)
  record, read_once.taken = flat_of(record), true
  return true
end

if not job or job.status ~= 'running' or job.fence ~= fence then
  -- The job was taken from this run or has ended, so nothing points at what the run published, unless it is the run that completed the
  -- job and asks again.
  if folder ~= '' and not (job and job.artifacts == folder) then redis.call('RPUSH', K.trash(), folder) end
  local ended = job and job.ended_fence == fence and job.status ~= 'queued' and job.status
  -- The record of a part goes with its end; its split knows how that was. With a split that is over all its parts were cancelled.
  local split, number = string.match(id, '^(.+~%d+)%.(%d+)$')
  local known = split and not job and redis.call('HMGET', K.parts(split), 'left', 'f:' .. number)
  if known then ended = not known[1] and 'cancelled' or string.match(known[2] or '', '^' .. fence .. ' (%a+)$') end
  return {ended or 'fenced', {}, unpack(handed_over())}
end
job.told_by_run = true
if job.part_of and outputs ~= '' then
  -- They are its result, and go on with its end.
  set_outputs(id, job, outputs, blobs)
  outputs = ''
end
if percent ~= '' then tell(id, job, percent, stage, message, passed) end
if outcome == 'cancelled' and not job.deadline_passed then job.cancel_requested = '1' end
if stopped(id, job) then
  -- This has been written before.
elseif outcome == 'completed' then
  local extra = {'result', result, 'progress', '100'}
  if bytes > 0 then extra[#extra + 1] = 'artifact_bytes'; extra[#extra + 1] = int(bytes) end
  job.copy = copy
  if drive_url ~= '' then extra[#extra + 1] = 'drive_url'; extra[#extra + 1] = drive_url end
  if folder ~= '' then
    -- Never before the record itself.
    local own = redis.call('HGET', K.job(id), 'retain_seconds')
    local retain = math.max(TTL_MS, own and 1000 * tonumber(own) or FILES_TTL_MS)
    for _, value in ipairs({'artifacts', folder, 'artifacts_expire_at', int(NOW + retain)}) do extra[#extra + 1] = value end
  end
  end_job(id, job, 'completed', extra, meta)
  if bytes > 0 then redis.call('HINCRBY', K.usage(job.tenant_id), 'artifact_bytes', int(bytes)) end
else
  end_failed(id, job, error, detail)
end
if outputs ~= '' then set_outputs(id, job, outputs, blobs) end
-- Only a completed job points at its artifacts; those of any other run are deleted.
if folder ~= '' and job.status ~= 'completed' then redis.call('RPUSH', K.trash(), folder) end
-- A run that came by a message of its own goes back to Celery, which has to tell of its end.
local goes_on = next_run ~= '' and not job.celery
if goes_on then ask_for_crashed() end
local hints = settle_and_admit(goes_on and take or nil)
return {job.status, hints, unpack(record or {})}
