#!lua flags=allow-oom
-- A run ends its job. Compare-and-set on (id, fence); sent again, the answer is the same.
-- KEYS: prefix
-- ARGV: id, fence, outcome (completed | failed | cancelled), result JSON, error, error detail JSON, artifacts folder or '', bytes, result meta JSON, TTL ms,
--       outputs of its stages JSON or '' (as the record has them), their blobs,
--       the run's last words as for progress (percent or '', stage, message, number of stages passed, stage, percent, ...), admission
-- Returns {status it ended in, hints} | {'fenced', hints} (this run has no say any more).
-- A finish that comes after a cancel was requested (or the deadline passed) ends so: cancel wins or finish wins, never both.
local id, fence, outcome, folder, bytes, ttl_ms = ARGV[1], ARGV[2], ARGV[3], ARGV[7], tonumber(ARGV[8]), ARGV[10]
local job = load(id)
if not job then return {'fenced', {}} end
if job.status ~= 'running' or job.fence ~= fence then
  if job.ended_fence == fence and job.status ~= 'queued' then return {job.status, {}} end
  return {'fenced', {}}
end
if ARGV[13] ~= '' then tell(id, job, ARGV[13], ARGV[14], ARGV[15], 17, 16 + 2 * tonumber(ARGV[16])) end
if outcome == 'cancelled' and not job.deadline_passed then job.cancel_requested = '1' end
if stopped(id, job, ttl_ms) then
  -- Said already.
elseif outcome == 'completed' then
  local extra = {'result', ARGV[4], 'progress', '100'}
  if bytes > 0 then extra[#extra + 1] = 'artifact_bytes'; extra[#extra + 1] = int(bytes) end
  if folder ~= '' then extra[#extra + 1] = 'artifacts'; extra[#extra + 1] = folder end
  end_job(id, job, 'completed', ttl_ms, extra, ARGV[9])
  if bytes > 0 then redis.call('HINCRBY', K.usage(job.tenant_id), 'artifact_bytes', int(bytes)) end
else
  end_failed(id, job, ttl_ms, ARGV[5], ARGV[6])
end
if ARGV[11] ~= '' then set_outputs(id, job, ARGV[11], ARGV[12]) end
-- Only a completed job points at its artifacts; what any other run left behind is thrown away.
if folder ~= '' and job.status ~= 'completed' then redis.call('RPUSH', K.trash(), folder) end
return {job.status, settle_and_admit()}
