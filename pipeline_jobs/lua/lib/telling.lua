-- A run tells how far it is: by progress while it runs, by finish with its last words.

-- The percentage never falls within an attempt: a rescued run overtakes it first. What changes nothing (it is sent again) is no event.
-- passed: stage, percentage, ...: they began and ended since the run told something.
local function tell(id, job, percent, stage, message, passed)
  local before = tonumber(job.progress or '0')
  if tonumber(percent) < before then percent = job.progress end
  local kind = stage ~= (job.stage or '') and 'stage' or 'progress'
  if kind == 'stage' or tonumber(percent) ~= before or message ~= (job.message or '') then
    for i = 1, #passed, 2 do
      job.stage, job.progress = passed[i], math.max(before, tonumber(passed[i + 1]))
      event(id, job, 'stage')
    end
    job.stage, job.progress = stage, percent
    redis.call('HSET', K.job(id), 'progress', percent, 'stage', stage, 'message', message)
    event(id, job, kind, message)
  end
end
