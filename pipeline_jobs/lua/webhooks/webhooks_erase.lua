#!lua flags=allow-oom
-- Remove everything of a tenant that belongs to webhooks: endpoints, secrets, deliveries. limit: the maximum number of deliveries a call.
--@args tenant limit:int
-- Returns how many deliveries it removed; fewer than the limit means that nothing is left.
for _, id in ipairs(redis.call('ZRANGE', K.tenant_endpoints(tenant), 0, -1)) do
  redis.call('DEL', K.endpoint(id))
  redis.call('ZREM', K.endpoints(), id)
end
redis.call('DEL', K.tenant_endpoints(tenant), K.webhook_secret(tenant))
local ids = redis.call('ZRANGE', K.deliveries(tenant), 0, limit - 1)
for _, id in ipairs(ids) do
  local row = load_delivery(id)
  if row then
    drop_delivery(id, row)
    -- Noted by a process of the version before, which keeps no list of them.
    redis.call('HDEL', K.webhook_health(), tenant .. ' ' .. row.host)
    redis.call('ZREM', K.webhook_wake(), tenant .. ' ' .. row.host)
  else
    redis.call('ZREM', K.deliveries(tenant), id)
  end
end
if #ids < limit then
  for _, host in ipairs(redis.call('ZRANGE', K.webhook_slow(tenant), 0, -1)) do forget_slow(tenant, host) end
  redis.call('DEL', K.webhook_slow(tenant))
  redis.call('DEL', K.webhook_lanes(tenant))
  redis.call('ZREM', K.webhook_ring(), tenant)
end
return #ids
