-- What becomes of a job whose worker, or the process that ran it, died: it goes back to the queue, or it fails at its last crash
-- (MAX_CRASHES). A worker's death ends a job that is shown to have killed it, and no other (see apart); where a job may crash once only, any.

local function goes_first(id, job, place)
  local before = use_pool(pool_of(job))
  redis.call('ZADD', K.lost(), place, id .. ' ' .. job.pipeline)
  use_pool(before)
end

-- The whole worker died, not only the process that ran the job: its lease ended. It goes first, or where it starts apart from others, when
-- its time has come (see place_again).
local function lost_with_worker(id, job, crashes)
  local delay, long = 0, nil
  if crashes >= MAX_CRASHES - 1 then delay, long = starts_apart(job, crashes) end
  local why = delay > 0 and 'starts apart from the jobs that were lost with it, in ' .. int(math.ceil(delay / 1000)) .. ' s' or nil
  back_to_queue(id, job, 'retry', delay, 'crash', why)
  if long then redis.call('HSET', K.job(id), 'apart_ms', long) end
  redis.call('HINCRBY', K.job(id), 'lost_runs', 1)
  goes_first(id, job, delay == 0 and job.order or '+inf')
end

-- Returns the job's status afterwards. error, detail: of the failed job.
local function crashed(id, job, error, detail)
  discard(id, job, job.fence)
  -- Asked first: one that ends by a cancel was there, too.
  local kills = job.ran_until and kills_its_workers(id, job)
  local ended = stopped(id, job)
  if ended then return ended end
  local crashes = redis.call('HINCRBY', K.job(id), 'crashes', 1)
  count('crashes')
  -- What its workers died of says nothing of its own process.
  local own = job.ran_until and 0 or crashes - tonumber(redis.call('HGET', K.job(id), 'lost_runs') or '0')
  if crashes >= MAX_CRASHES and (kills or own >= MAX_CRASHES or MAX_CRASHES == 1) then
    end_failed(id, job, error, detail)
    return 'failed'
  end
  redis.call('HSET', K.job(id), 'hint_soon', '1')
  if job.ran_until then lost_with_worker(id, job, crashes) else back_to_queue(id, job, 'retry', 0, 'crash') end
  return 'queued'
end

-- A run gives its job up without an end. why: crash (counted; the last one allowed ends the job), retry (a new attempt, after delay ms),
-- handback (counted without a limit) or fault (the worker's machine is at fault: nothing is counted, and the job waits 1 s, twice as long
-- each further time, at most 5 min). If a cancel was requested or the deadline has passed, the job ends instead. Returns the job's status
-- afterwards.
local function give_up(id, job, why, error, detail, delay)
  if why == 'crash' then return crashed(id, job, error, detail) end
  -- The run removes its folder itself, if it lives that long.
  discard(id, job, job.fence)
  local ended = stopped(id, job)
  if ended then return ended end
  if why == 'retry' then
    redis.call('HSET', K.job(id), 'new_attempt', '1')
    redis.call('HDEL', K.job(id), 'faults', 'hop_stage')
    back_to_queue(id, job, 'retry', delay, why)
  elseif why == 'handback' then
    back_to_queue(id, job, 'fair_share', 0, why, handed_back(id, why, redis.call('HINCRBY', K.job(id), 'handbacks', 1)))
  else
    local delay, faults = fault_delay(id)
    back_to_queue(id, job, 'retry', delay, why, handed_back(id, why, faults))
  end
  return 'queued'
end
