#!lua flags=allow-oom
-- A run ends its job. Compare-and-set on (id, fence); sent again, the answer is the same.
-- outcome: completed | failed | cancelled. result, detail, meta (the result's), outputs (of its stages, as the record has them) are JSON.
-- folder, bytes: of its artifacts. blobs: of its outputs. From `percent` on: the run's last words, as for progress.
--@args id fence:digits outcome result error detail folder? bytes:int meta outputs? blobs?
--@args percent:decimal? stage message passed:pairs
--@settings events admits names kept
--@reply status hints
-- status: what it ended in, or 'fenced' (this run has no say any more).
-- A finish that comes after a cancel was requested (or the deadline passed) ends so: cancel wins or finish wins, never both.
local job = load(id)
if not job or job.status ~= 'running' or job.fence ~= fence then
  -- Nothing points at what it published since its job was taken from it or ended, unless it is the run that completed it and asks again.
  if folder ~= '' and not (job and job.artifacts == folder) then redis.call('RPUSH', K.trash(), folder) end
  if not job then return {'fenced', {}} end
  if job.ended_fence == fence and job.status ~= 'queued' then return {job.status, {}} end
  return {'fenced', {}}
end
job.told_by_run = true
if percent ~= '' then tell(id, job, percent, stage, message, passed) end
if outcome == 'cancelled' and not job.deadline_passed then job.cancel_requested = '1' end
if stopped(id, job) then
  -- Said already.
elseif outcome == 'completed' then
  local extra = {'result', result, 'progress', '100'}
  if bytes > 0 then extra[#extra + 1] = 'artifact_bytes'; extra[#extra + 1] = int(bytes) end
  if folder ~= '' then extra[#extra + 1] = 'artifacts'; extra[#extra + 1] = folder end
  end_job(id, job, 'completed', extra, meta)
  if bytes > 0 then redis.call('HINCRBY', K.usage(job.tenant_id), 'artifact_bytes', int(bytes)) end
else
  end_failed(id, job, error, detail)
end
if outputs ~= '' then set_outputs(id, job, outputs, blobs) end
-- Only a completed job points at its artifacts; what any other run left behind is thrown away.
if folder ~= '' and job.status ~= 'completed' then redis.call('RPUSH', K.trash(), folder) end
return {job.status, settle_and_admit()}
