#!lua flags=allow-oom
-- A run ends its job. Compare-and-set on (id, fence); sent again, the answer is the same.
-- outcome: completed | failed | cancelled. result, detail, meta (the result's) and outputs (of the stages, as in the record) are JSON.
-- folder, bytes: of the artifacts. blobs: of the outputs. From `percent` on: the run's last progress, as for progress.
--@args id fence:digits outcome result error detail folder? bytes:int meta outputs? blobs?
--@args percent:decimal? stage message passed:pairs
--@settings events admits names kept files
--@reply status hints
-- status: the job's status afterwards, or 'fenced' (the run has lost the job). If a cancel was requested or the deadline has passed
-- before, the job ends so: either the cancel wins or the finish, never both.
local job = load(id)
if not job or job.status ~= 'running' or job.fence ~= fence then
  -- The job was taken from this run or has ended, so nothing points at what the run published, unless it is the run that completed the
  -- job and asks again.
  if folder ~= '' and not (job and job.artifacts == folder) then redis.call('RPUSH', K.trash(), folder) end
  if not job then return {'fenced', {}} end
  if job.ended_fence == fence and job.status ~= 'queued' then return {job.status, {}} end
  return {'fenced', {}}
end
job.told_by_run = true
if percent ~= '' then tell(id, job, percent, stage, message, passed) end
if outcome == 'cancelled' and not job.deadline_passed then job.cancel_requested = '1' end
if stopped(id, job) then
  -- This has been written before.
elseif outcome == 'completed' then
  local extra = {'result', result, 'progress', '100'}
  if bytes > 0 then extra[#extra + 1] = 'artifact_bytes'; extra[#extra + 1] = int(bytes) end
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
return {job.status, settle_and_admit()}
