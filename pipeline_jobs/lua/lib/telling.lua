-- The progress of a run, written by progress while it runs and by finish at its end.

-- The percentage never falls within an attempt: after a rescue it stays until the new run is further. A call that changes nothing (it was
-- sent again) writes no event. passed: stage, percentage, ... of the stages that began and ended since the last call; and text, 'warning',
-- ... of warnings, or 'cached' of a stage whose output another job has given: each is an event of the kind `progress`, for an API of the
-- release before knows no other word for it.
local function tell(id, job, percent, stage, message, passed)
  local before = tonumber(job.progress or '0')
  if tonumber(percent) < before then percent = job.progress end
  local kind = stage ~= (job.stage or '') and 'stage' or 'progress'
  if kind == 'stage' or tonumber(percent) ~= before or message ~= (job.message or '') then
    for i = 1, #passed, 2 do
      if passed[i + 1] == 'warning' or passed[i + 1] == 'cached' then
        event(id, job, 'progress', passed[i], passed[i + 1])
      else
        job.stage, job.progress = passed[i], math.max(before, tonumber(passed[i + 1]))
        event(id, job, 'stage')
      end
    end
    job.stage, job.progress = stage, percent
    redis.call('HSET', K.job(id), 'progress', percent, 'stage', stage, 'message', message)
    event(id, job, kind, message)
  end
end
