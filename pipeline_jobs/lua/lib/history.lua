-- Ended jobs on their way into the history, which is a database: one that is away must not make anybody wait. Of each tenant a set
-- (`unmoved`), and a ring of the tenants that have one: a tenant with very many does not delay another's.

-- Whether an ended job must stay because it is not in the history yet. keep: of each tenant so many of those stay (negative: all); what goes
-- in spite of that is counted. One that nobody has noted is noted here: it ended before there was a history, or in a process without.
local function must_stay(id, job, keep)
  if HISTORY == 0 or job.tenant_id == CANARY or redis.call('HGET', K.job(id), 'moved') then return false end
  redis.call('ZADD', K.unmoved(job.tenant_id), 'NX', int(NOW), id)
  redis.call('ZADD', K.unmoved_tenants(), 'NX', int(NOW), job.tenant_id)
  if keep < 0 or redis.call('ZCARD', K.unmoved(job.tenant_id)) <= keep then return true end
  count('history_lost')
  return false
end

-- Takes a tenant that has nothing to be moved out of the ring.
local function leave_ring_of_unmoved(tenant)
  if redis.call('EXISTS', K.unmoved(tenant)) == 0 then redis.call('ZREM', K.unmoved_tenants(), tenant) end
end
