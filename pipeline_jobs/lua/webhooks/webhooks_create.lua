#!lua
-- Make a webhook endpoint.
-- KEYS: prefix
-- ARGV: id, tenant, most of a tenant, nonce, number of fields, field, value, ..., admission
-- Returns {'ok', created_at} | {'full'} | {'taken'}. Sent again (the same nonce): the same 'ok'.
local id, tenant, limit, nonce = ARGV[1], ARGV[2], tonumber(ARGV[3]), ARGV[4]
local known = redis.call('HMGET', K.endpoint(id), 'nonce', 'created_at')
if known[1] then return known[1] == nonce and {'ok', known[2]} or {'taken'} end
if redis.call('ZCARD', K.tenant_endpoints(tenant)) >= limit then return {'full'} end
local order = math.max(TIME[1] * 1000000 + TIME[2], tonumber(redis.call('GET', K.order()) or '0') + 1)
redis.call('SET', K.order(), int(order))
redis.call('HSET', K.endpoint(id), 'endpoint_id', id, 'tenant_id', tenant, 'nonce', nonce, 'order', int(order), 'created_at', int(NOW), unpack(ARGV, 6, 5 + 2 * tonumber(ARGV[5])))
redis.call('ZADD', K.endpoints(), int(order), id)
redis.call('ZADD', K.tenant_endpoints(tenant), int(order), id)
return {'ok', int(NOW)}
