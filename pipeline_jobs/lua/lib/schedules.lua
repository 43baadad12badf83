-- Schedules: the outcome of their slots, and when a schedule is due again.

-- The fields of a schedule that decisions are made on, as a table; nil if there is no such schedule.
local function load_schedule(id)
  local names = {'revision', 'tenant_id', 'workspace_id', 'overlap', 'next_run_at', 'paused'}
  local values = redis.call('HMGET', K.schedule(id), unpack(names))
  if not values[1] then return nil end
  local schedule = {}
  for i, name in ipairs(names) do schedule[name] = values[i] ~= '' and values[i] or nil end
  return schedule
end

-- Records the outcome of n slots: a line in the log, which keeps fifty (outcome|ms|first slot|last slot|n|job), figures of the record, counters.
local function slots_done(id, schedule, outcome, first, last, n, job_id)
  redis.call('LPUSH', K.schedule_log(id), table.concat({outcome, int(NOW), first, last, int(n), job_id}, '|'))
  redis.call('LTRIM', K.schedule_log(id), 0, 49)
  local tenant, workspace = series_of(schedule.tenant_id, schedule.workspace_id)
  count_by(n, 'schedule_slots', tenant, workspace, outcome)
  if job_id ~= '' then redis.call('HSET', K.schedule(id), 'last_run_at', int(NOW), 'last_job_id', job_id) end
  if outcome == 'fired' then
    redis.call('HINCRBY', K.schedule(id), 'fired', n)
    observe('schedule_lag', schedule, NOW - tonumber(last))
  elseif outcome ~= 'manual' then
    redis.call('HINCRBY', K.schedule(id), 'skipped', n)
    redis.call('HSET', K.schedule(id), 'last_skipped_at', last, 'last_skipped_reason', outcome)
  end
end

-- Sets when a schedule is due again: at its next slot, or this many ms from now if slots of it wait.
local function look_again(id, schedule, delay_ms)
  local at = schedule.next_run_at
  if redis.call('EXISTS', K.schedule_slots(id)) == 1 then at = int(NOW + delay_ms) end
  if at then redis.call('ZADD', K.schedules_due(), at, id) else redis.call('ZREM', K.schedules_due(), id) end
end

-- The jobs of a schedule that have not ended: {{id, job}, ...}. Those that have ended are forgotten.
local function live_jobs(id)
  local live = {}
  for _, job_id in ipairs(redis.call('SMEMBERS', K.schedule_jobs(id))) do
    local job = load(job_id)
    if job and (job.status == 'queued' or job.status == 'running') then
      live[#live + 1] = {job_id, job}
    else
      redis.call('SREM', K.schedule_jobs(id), job_id)
    end
  end
  return live
end

-- To detect an overlap; a hundred jobs are remembered at most.
local function remember_job(id, job_id)
  if redis.call('SCARD', K.schedule_jobs(id)) < 100 then redis.call('SADD', K.schedule_jobs(id), job_id) end
end
