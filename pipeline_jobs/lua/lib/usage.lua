-- The figures of a day that a tenant's usage shows.

-- Adds to the figures of a job's tenant of today. what: a figure to which it adds 1, the status of a job that has ended among them (nil: none,
-- as of a run whose job goes on, in another pool or in parts, and of a part's). used: slot-ms. Returns the figure.
local function record_usage(job, what, used)
  local day = math.floor(NOW / 86400000)
  local key = K.usage_day(job.tenant_id, day)
  local n = what and redis.call('HINCRBY', key, what, 1)
  local first = n == 1
  if used > 0 then first = redis.call('HINCRBY', key, 'slot_ms', int(used)) == tonumber(int(used)) or first end
  -- On the day on which a job came, the figures of that day have their end since then (accept).
  if first and (job.part_of or math.floor(job.created_at / 86400000) ~= day) then redis.call('EXPIRE', key, 34560000) end
  return n
end
