-- A job's place: in a lane, delayed, hinted or leased. Everything that takes a job out of a slot calls this.

-- A lease ends; `to` and the rest as for slot_freed. Returns whether there was a lease.
local function release(id, job, to, ...)
  local before = use_pool(pool_of(job))
  local held = redis.call('ZREM', K.leases(), id) == 1 and job.worker
  if held then
    count_run(job.worker, -1)
    slot_freed(id, job, to, ...)
  end
  use_pool(before)
  return held
end

-- Takes back a hint that nobody claimed.
local function unhint(id, job)
  spend(10)
  local before = use_pool(pool_of(job))
  if redis.call('ZREM', K.hints(), id) == 1 then
    take_back(id, job)
    slot_freed(id, job)
  end
  use_pool(before)
end

-- A job that has a place among those that go first (see next_lost) has that again: it waits in its lane.
local function place_again(id, job)
  if not job.crashes then return end
  local before = use_pool(pool_of(job))
  redis.call('ZADD', K.lost(), 'XX', job.order, id .. ' ' .. job.pipeline)
  use_pool(before)
end

-- A hint that no run began with: its job waits in its lane again.
local function hint_lost(id, job)
  if limits_of(job.tenant_id).start_rate then
    -- A token was taken for a start that did not happen. It is there before the slot is free: who waits for one comes back with that.
    local common = common_of(job.tenant_id)
    common.tokens = common.tokens + 1
    redis.call('HSET', K.share(job.tenant_id), 'tokens', common.tokens)
    read_once.freed[job.tenant_id] = pool_of(job)
  end
  unhint(id, job)
  place_again(id, job)
  redis.call('HSET', K.job(id), 'reason', 'fair_share')
  make_ready(id, job)
end

-- A record that is newer than the workers that could run it now waits for a newer worker, and not at the head of its lane.
local function wait_apart(id)
  spend(12)
  redis.call('HSET', K.job(id), 'reason', 'retry')
  redis.call('ZADD', K.delayed(), NOW + HINT_MS, id)
  redis.call('ZREM', K.ready_since(), id)
end

local function leave_queue(id, job)
  take_ready(id, job)
  redis.call('ZREM', K.ready_since(), id)
  if job.crashes then
    local before = use_pool(pool_of(job))
    redis.call('ZREM', K.lost(), id .. ' ' .. job.pipeline)
    use_pool(before)
    -- Others may go first now.
    read_once.freed_slot = true
  end
  -- A job that waits in its lane is nowhere else.
  if job.reason ~= 'fair_share' then
    stop_waiting(id, job)
    redis.call('ZREM', K.delayed(), id)
    job.taken_back = true
    unhint(id, job)
  end
  if not job.whole or job.ttl_seconds or job.start_within_seconds then redis.call('ZREM', K.waits(), id) end
end
