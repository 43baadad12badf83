#!lua
-- Change a webhook endpoint, or delete it (no fields). Pending deliveries to a deleted one become dead when their turn comes.
--@args id fields:pairs
--@once
-- Returns 1 | 0: there is none.
local tenant = redis.call('HGET', K.endpoint(id), 'tenant_id')
if not tenant then return 0 end
if #fields == 0 then
  redis.call('DEL', K.endpoint(id))
  redis.call('ZREM', K.endpoints(), id)
  redis.call('ZREM', K.tenant_endpoints(tenant), id)
  return 1
end
redis.call('HSET', K.endpoint(id), unpack(fields))
if redis.call('HGET', K.endpoint(id), 'enabled') == '1' then redis.call('HDEL', K.endpoint(id), 'disabled_reason') end
return 1
