-- The figures of a day that a tenant's usage shows. How long its jobs waited is counted at their first start (claim.lua).

-- Adds the slot-ms of a run whose job goes on in another pool.
local function record_segment(job, used)
  local day = K.usage_day(job.tenant_id, int(math.floor(NOW / 86400000)))
  if redis.call('HINCRBY', day, 'slot_ms', used) == tonumber(used) then redis.call('EXPIRE', day, 34560000) end
end

-- Adds an ended job to the figures of its tenant's day: jobs by status, slot-ms.
local function record_usage(job, to, used)
  local day = K.usage_day(job.tenant_id, int(math.floor(NOW / 86400000)))
  if redis.call('HINCRBY', day, to, 1) == 1 then redis.call('EXPIRE', day, 34560000) end
  if used > 0 then redis.call('HINCRBY', day, 'slot_ms', int(used)) end
end
