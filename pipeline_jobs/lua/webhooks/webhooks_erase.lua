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
    redis.call('HDEL', K.webhook_health(), tenant .. ' ' .. row.host)
    redis.call('ZREM', K.webhook_wake(), tenant .. ' ' .. row.host)
  else
    redis.call('ZREM', K.deliveries(tenant), id)
  end
end
if #ids < limit then
  redis.call('DEL', K.webhook_lanes(tenant))
  redis.call('ZREM', K.webhook_ring(), tenant)
end
return #ids
