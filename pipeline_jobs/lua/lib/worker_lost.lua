-- What becomes of a job whose worker, or the process that ran it, died: it goes back to the queue, or it fails at its last crash
-- (max_crashes).

-- Returns the job's status afterwards. error, detail: of the failed job.
local function crashed(id, job, max_crashes, ttl_ms, error, detail)
  discard(id, job, job.fence)
  local ended = stopped(id, job, ttl_ms)
  if ended then return ended end
  local crashes = redis.call('HINCRBY', K.job(id), 'crashes', 1)
  count('crashes')
  if crashes >= max_crashes then
    end_failed(id, job, ttl_ms, error, detail)
    return 'failed'
  end
  back_to_queue(id, job, 'retry', 0, 'crash')
  -- The lease ended: the whole worker died, not only the process that ran the job.
  if job.ran_until then redis.call('ZADD', K.lost(), job.order, id) end
  return 'queued'
end
