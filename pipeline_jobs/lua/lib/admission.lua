-- Admission: who gets a free slot.

-- Workers whose announcement ended: their slots are gone, and the leases they hold fill nobody's slot.
local function prune_workers()
  for _, worker in ipairs(redis.call('ZRANGEBYSCORE', K.workers(), '-inf', int(NOW))) do
    redis.call('ZREM', K.workers(), worker)
    redis.call('DECRBY', K.capacity(), tonumber(redis.call('HGET', K.slots(), worker) or '0'))
    redis.call('HDEL', K.slots(), worker)
    redis.call('INCRBY', K.stranded(), tonumber(redis.call('HGET', K.running(), worker) or '0'))
  end
end

local function free_slots()
  prune_workers()
  local running, hinted = redis.call('ZCARD', K.leases()), redis.call('ZCARD', K.hints())
  local capacity = tonumber(redis.call('GET', K.capacity()) or '0')
  local stranded = tonumber(redis.call('GET', K.stranded()) or '0')
  return math.min(capacity - (running - stranded), CAP - running) - hinted
end

-- Fills @ID@ and its like in a hint; every value is made of safe characters, so the JSON stays JSON.
local function hint(id, job, fence)
  local values = {ID = id, FENCE = int(fence), TAG = id .. '.' .. int(fence), TENANT = job.tenant_id, WORKSPACE = job.workspace_id, PIPELINE = job.pipeline}
  return (string.gsub(job.celery or TEMPLATE, '@(%u+)@', values))
end

-- Admission: while a slot is free and somebody is eligible, dispatch the job whose turn it is. Every script ends with it.
-- Where the broker is not this server (TEMPLATE is empty), the hints to publish are returned: id, fence, tenant, workspace, pipeline, message.
local function admit()
  settle()
  local hints = {}
  local free = free_slots()
  while free > 0 do
    local id = next_job()
    if not id then break end
    local job = load(id)
    if job and job.status == 'queued' then
      local fence = redis.call('HINCRBY', K.job(id), 'fence', 1)
      redis.call('HSET', K.job(id), 'reason', 'dispatched')
      redis.call('ZADD', K.hints(), int(NOW + HINT_MS), id)
      slot_taken(id, job)
      if TEMPLATE ~= '' then
        redis.call('LPUSH', QUEUE, hint(id, job, fence))
      else
        hints[#hints + 1] = {id, int(fence), job.tenant_id, job.workspace_id, job.pipeline, job.celery or ''}
      end
      free = free - 1
    end
  end
  return hints
end
