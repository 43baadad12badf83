-- Serves the dependents of jobs that have ended. One end can cause others, and many jobs may wait for one: a script serves until it has
-- worked enough and leaves the rest in `unsettled`, which the maintenance duties (rescue, each worker's beat, `settle`) work off. So no
-- other client is held up for long, and nothing is lost if a process dies in between.

local function serve(ended, to, id)
  redis.call('SREM', K.needs(id), ended)
  local job = load(id)
  if not job or job.status ~= 'queued' or job.reason ~= 'dependency' then return end
  local more = redis.call('HMGET', K.job(id), 'on_dependency_failure', 'run_at')
  local policy = to == 'completed' and 'run' or more[1] or 'fail'
  if policy == 'fail' or policy == 'cancel' then
    local error = 'job ' .. ended .. ', on which this one depends, ended as ' .. to
    local end_so = policy == 'fail' and end_failed or end_cancelled
    end_so(id, job, error, cjson.encode({code = 'dependency_failed', message = error, stage = cjson.null, retryable = false}))
  elseif redis.call('EXISTS', K.needs(id)) == 0 then
    if more[2] and tonumber(more[2]) > NOW then
      redis.call('HSET', K.job(id), 'reason', 'scheduled')
      redis.call('ZADD', K.delayed(), more[2], id)
    else
      redis.call('HSET', K.job(id), 'reason', 'fair_share')
      make_ready(id, job)
    end
  end
end

-- Open parts of splits that are over end, and then nothing names their files any more. What one script does not come to, the next duty does.
local function end_splits()
  while not worked_enough() do
    local row = redis.call('LINDEX', K.ended_splits(), 0)
    if not row then return end
    local split, tenant = string.match(row, '^(%S+) (%S+)$')
    local part = redis.call('SPOP', K.open_parts(split))
    local job, blobs = part and load(part), not part and redis.call('LPOP', K.parts_blobs(split))
    spend(5)
    if job then
      ask_to_end(part, job)
    elseif blobs then
      spend(#blobs / 40)
      count_blobs(tenant, blobs, -1)
    elseif not part then
      redis.call('LPOP', K.ended_splits())
    end
  end
end

-- Serves the dependents of the jobs that ended in this script. What is left goes to the back of `unsettled`, so that other entries have
-- their turn.
local function settle()
  -- Returns whether all its dependents were served.
  local function serve_all(ended)
    while not worked_enough() do
      local id = redis.call('SPOP', K.dependents(ended[1]))
      if not id then return true end
      spend(5)
      serve(ended[1], ended[2], id)
    end
    return redis.call('EXISTS', K.dependents(ended[1])) == 0
  end
  -- The end of a part is written before that of its job can be.
  for _, one in ipairs(read_once.failed_parts) do
    local job = load(one.id)
    if job and job.split and one.to == 'failed' then end_failed(one.id, job, one.error, one.detail) end
    if job and job.split and one.to == 'cancelled' then end_cancelled(one.id, job) end
  end
  while just_ended[1] do
    local ended = table.remove(just_ended)
    if not serve_all(ended) then redis.call('RPUSH', K.unsettled(), cjson.encode(ended)) end
  end
  if read_once.retired then end_splits() end
end

-- Scripts that can end jobs end with this. take: as for admit.
local function settle_and_admit(take)
  settle()
  return admit(take)
end

-- The same where the jobs may have had no slots: if no slot is free now and nobody came, the admission before has left nothing to be done.
local function settle_and_admit_after()
  settle()
  return (read_once.entered or read_once.freed_slot) and admit() or {}
end

-- The same for maintenance duties, which also continue with what was left.
local function settle_kept_and_admit()
  index_tags()
  settle()
  if redis.call('EXISTS', K.unsettled(), K.ended_splits()) > 0 then
    while not worked_enough() do
      local kept = redis.call('LPOP', K.unsettled())
      if not kept then break end
      spend(5)
      just_ended[1] = cjson.decode(kept)
      settle()
    end
    end_splits()
  end
  return admit()
end
