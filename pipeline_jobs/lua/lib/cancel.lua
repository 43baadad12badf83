-- What a cancel does to a job: a queued job ends now, a running job ends when its worker has stopped it. An ended job is left alone by who
-- asks: each has looked.
local function ask_to_end(id, job)
  if job.status == 'queued' then
    end_cancelled(id, job)
  elseif not job.cancel_requested then
    redis.call('HSET', K.job(id), 'cancel_requested', '1')
    event(id, job, 'cancel_requested', job.message)
  end
end
