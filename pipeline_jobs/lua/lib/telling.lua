-- The progress of a run, written by progress while it runs and by finish at its end.

-- A part has come so many percent further. The progress of its job is the sum of its parts': a whole percent more is an event.
local function add_progress(split, id, job, by)
  local known = redis.call('HMGET', K.parts(split), 'left', 'n', 'begins', 'ends')
  if not job or not known[1] then return end
  local done, before = redis.call('HINCRBYFLOAT', K.parts(split), 'done', by), tonumber(job.progress or '0')
  local percent = math.floor(10 * (known[3] + (known[4] - known[3]) * done / (100 * known[2]))) / 10
  if percent <= before then return end
  job.progress = string.format('%.1f', percent)
  redis.call('HSET', K.job(id), 'progress', job.progress)
  if math.floor(percent) > math.floor(before) then event(id, job, 'progress', nil, 'part:queued') end
end

-- The percentage never falls within an attempt: after a rescue it stays until the new run is further. A call that changes nothing (it was
-- sent again) writes no event. passed: stage, percentage, ... of the stages that began and ended since the last call; and text, 'warning',
-- ... of warnings, or 'cached' of a stage whose output another job has given: each is an event of the kind `progress`, for an API of the
-- release before knows no other word for it. The fields of the record that changed are in `job.told`: the caller writes them, or the job's end.
local function tell(id, job, percent, stage, message, passed)
  local before = tonumber(job.progress or '0')
  if job.part_of then
    if tonumber(percent) <= before then return end
    job.progress = percent
    redis.call('HSET', K.job(id), 'progress', percent)
    return add_progress(string.match(id, '^(.+)%.'), job.part_of, load(job.part_of), percent - before)
  end
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
    job.told = {'progress', percent, 'stage', stage, 'message', message}
    event(id, job, kind, message)
  end
end
