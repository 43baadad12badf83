#!lua
-- Create a webhook endpoint. limit: the maximum number of endpoints of a tenant.
--@args id tenant limit:int nonce fields:pairs
-- Returns 'ok' | 'full' | 'taken' | 'waiting' (with one more, the tenant's queued jobs would make too many deliveries). Sent again (the same nonce): the same 'ok'.
local known = redis.call('HGET', K.endpoint(id), 'nonce')
if known then return known == nonce and 'ok' or 'taken' end
if redis.call('ZCARD', K.tenant_endpoints(tenant)) >= limit then return 'full' end
if webhooks_full(tenant, 0, 1) then return 'waiting' end
local order = math.max(MICROS, tonumber(redis.call('GET', K.order()) or '0') + 1)
redis.call('SET', K.order(), int(order))
redis.call('HSET', K.endpoint(id), 'endpoint_id', id, 'tenant_id', tenant, 'nonce', nonce, 'order', int(order), 'created_at', int(NOW), unpack(fields))
redis.call('ZADD', K.endpoints(), int(order), id)
redis.call('ZADD', K.tenant_endpoints(tenant), int(order), id)
return 'ok'
