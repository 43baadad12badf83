-- What becomes of a job whose worker, or the process that ran it, died: it goes back to the queue, or it fails at its last crash
-- (MAX_CRASHES).

-- Returns the job's status afterwards. error, detail: of the failed job.
local function crashed(id, job, error, detail)
  discard(id, job, job.fence)
  local ended = stopped(id, job)
  if ended then return ended end
  local crashes = redis.call('HINCRBY', K.job(id), 'crashes', 1)
  count('crashes')
  if crashes >= MAX_CRASHES then
    end_failed(id, job, error, detail)
    return 'failed'
  end
  back_to_queue(id, job, 'retry', 0, 'crash')
  -- The lease ended: the whole worker died, not only the process that ran the job.
  if job.ran_until then redis.call('ZADD', K.lost(), job.order, id .. ' ' .. job.pipeline) end
  return 'queued'
end
