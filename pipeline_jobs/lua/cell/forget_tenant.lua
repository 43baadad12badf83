#!lua flags=allow-oom
-- Forget a tenant of which nothing is left but what has no record of its own: figures, rates, clocks, limits. A charge or a slot that
-- something still has must not be forgotten: nobody would give it back. days: of which there are figures, beside today's.
--@args tenant days:list
-- Returns 1, or 0: something is there, which may have come since the caller looked. Sent again: the same.

-- Returns whether the tenant has a job in this list. An entry without a job of the tenant's goes.
local function has_jobs(key)
  for _, id in ipairs(redis.call('ZRANGE', key, 0, 99)) do
    if redis.call('HGET', K.job(id), 'tenant_id') == tenant then return true end
    redis.call('ZREM', key, id)
  end
  return redis.call('EXISTS', key) == 1
end

for _, status in ipairs({'queued', 'running', 'part_running', 'completed', 'failed', 'cancelled'}) do
  if has_jobs(K.tenant_status(tenant, status)) then return 0 end
end
if redis.call('EXISTS', K.tenant_uploads(tenant), K.tenant_kept(tenant), K.deliveries(tenant), K.reuse_used(tenant)) > 0 then return 0 end
-- Here and not behind this script: who comes behind it counts on the end that the first job of a day gives the day's figures.
days[#days + 1] = int(math.floor(NOW / 86400000))
for _, day in ipairs(days) do redis.call('DEL', K.usage_day(tenant, day)) end
redis.call('DEL', K.usage(tenant), K.share(tenant), K.rate(tenant), K.feed(tenant), K.remembered(tenant))
in_each_pool(function()
  -- It may name this tenant; the next dispatch of any other writes it again.
  redis.call('DEL', K.recent())
  redis.call('SREM', K.waiting(), tenant)
  redis.call('ZREM', K.parked(), tenant)
end)
redis.call('HDEL', K.limits(), tenant)
redis.call('ZREM', K.tenants(), tenant)
return 1
