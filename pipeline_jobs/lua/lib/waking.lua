-- What the passing of time brings.

-- The time of a wait for a signal is over, and none came. To be called only where the end of a job is told (see wake).
local function wait_is_over(id, job)
  local known = redis.call('HMGET', K.job(id), 'awaits', 'awaits_or')
  local name = known[1] or ''
  local text = 'no signal ' .. name .. ' came in time'
  count('signals', 'timeout')
  if known[2] == 'go_on' then
    note_signal(id, job, name, 'null', 'timeout')
    unpark(id, job)
    event(id, job, 'progress', text, 'signal:queued')
  else
    end_failed(id, job, text, cjson.encode({code = 'signal_timeout', message = text, stage = name, retryable = false}))
  end
end

-- Makes ready the jobs whose time has come, and the tenants whose rate lets them start again. done: a list that is told of parked jobs whose
-- wait is over; nil: they are left to a caller that has one.
local function wake(done)
  for _, id in ipairs(redis.call('ZRANGEBYSCORE', K.delayed(), '-inf', int(NOW), 'LIMIT', 0, 100)) do
    if worked_enough() then break end
    local job = load(id)
    if job and job.status == 'queued' and job.reason == 'signal' then
      if done then
        wait_is_over(id, job)
        done[#done + 1] = {id, job.status}
      end
    else
      redis.call('ZREM', K.delayed(), id)
      if job and job.status == 'queued' then
        place_again(id, job)
        redis.call('HSET', K.job(id), 'reason', 'fair_share')
        make_ready(id, job)
      end
    end
  end
  in_each_pool(function()
    for _, tenant in ipairs(redis.call('ZRANGEBYSCORE', K.parked(), '-inf', int(NOW), 'LIMIT', 0, 100)) do
      redis.call('ZREM', K.parked(), tenant)
      enter_ring(tenant)
    end
    -- Pipelines that have room again, or whose cap was removed, with too many workspaces for that script; and pipelines for which a worker
    -- came that knows them.
    ask_blocked()
  end)
end
