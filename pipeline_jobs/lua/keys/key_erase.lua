#!lua flags=allow-oom
-- Remove every API key of a tenant.
--@args tenant
--@once
-- Returns how many there were.
local ids = redis.call('ZRANGE', K.tenant_api_keys(tenant), 0, -1)
for _, id in ipairs(ids) do
  redis.call('DEL', K.api_key(id))
  redis.call('ZREM', K.api_keys(), id)
end
redis.call('DEL', K.tenant_api_keys(tenant))
return #ids
