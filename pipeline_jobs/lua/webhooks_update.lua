#!lua
-- Change a webhook endpoint, or (without fields) delete it. What waits for a deleted one is dead when its turn comes.
-- KEYS: prefix
-- ARGV: id, field, value, ..., admission
-- Returns 1 | 0: there is none.
local id = ARGV[1]
local tenant = redis.call('HGET', K.endpoint(id), 'tenant_id')
if not tenant then return 0 end
if N == 5 then
  redis.call('DEL', K.endpoint(id))
  redis.call('ZREM', K.endpoints(), id)
  redis.call('ZREM', K.tenant_endpoints(tenant), id)
  return 1
end
redis.call('HSET', K.endpoint(id), unpack(ARGV, 2, N - 4))
if redis.call('HGET', K.endpoint(id), 'enabled') == '1' then redis.call('HDEL', K.endpoint(id), 'disabled_reason') end
return 1
