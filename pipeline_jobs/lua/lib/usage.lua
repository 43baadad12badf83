-- The figures of a day that a tenant's usage shows. How long its jobs waited is counted at their first start (claim.lua).

-- Adds an ended job to the figures of its tenant's day: jobs by status, slot-ms. to: nil for a run whose job goes on, in another pool or in
-- parts, and for a part's.
local function record_usage(job, to, used)
  local day = K.usage_day(job.tenant_id, int(math.floor(NOW / 86400000)))
  local first = to and redis.call('HINCRBY', day, to, 1) == 1
  if used > 0 then first = redis.call('HINCRBY', day, 'slot_ms', int(used)) == tonumber(int(used)) or first end
  if first then redis.call('EXPIRE', day, 34560000) end
end
