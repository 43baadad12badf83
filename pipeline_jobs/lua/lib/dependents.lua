-- Serves those who waited for jobs that have ended in this script. Ends bring ends about: a script serves so many, the rest is kept for the next
-- one of these (each worker's beat is one), so that a long chain holds nobody up.
local SETTLE_MOST = 500

local function serve(ended, to, ttl_ms, id)
  redis.call('SREM', K.needs(id), ended)
  local job = load(id)
  if not job or job.status ~= 'queued' or job.reason ~= 'dependency' then return end
  local more = redis.call('HMGET', K.job(id), 'on_dependency_failure', 'run_at')
  local policy = to == 'completed' and 'run' or more[1] or 'fail'
  if policy == 'fail' or policy == 'cancel' then
    local error = 'job ' .. ended .. ', on which this one depends, ended as ' .. to
    local end_so = policy == 'fail' and end_failed or end_cancelled
    end_so(id, job, ttl_ms, error, cjson.encode({code = 'dependency_failed', message = error, stage = cjson.null, retryable = false}))
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

local function settle()
  local left = SETTLE_MOST
  while true do
    local ended = table.remove(just_ended)
    if not ended then
      local kept = redis.call('LPOP', K.unsettled())
      if not kept then return end
      ended = cjson.decode(kept)
    end
    while left > 0 do
      local id = redis.call('SPOP', K.dependents(ended[1]))
      if not id then break end
      left = left - 1
      serve(ended[1], ended[2], ended[3], id)
    end
    if left == 0 then
      redis.call('RPUSH', K.unsettled(), cjson.encode(ended))
      for _, other in ipairs(just_ended) do redis.call('RPUSH', K.unsettled(), cjson.encode(other)) end
      return
    end
  end
end

-- What scripts that can end jobs end with.
local function settle_and_admit()
  settle()
  return admit()
end
