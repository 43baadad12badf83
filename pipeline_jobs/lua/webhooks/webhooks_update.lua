#!lua
-- Change a webhook endpoint, or delete it. What waits for a deleted one is dead when its turn comes.
-- KEYS: prefix
-- ARGV: id, number of fields (0: delete it), field, value, ..., admission
-- Returns 1 | 0: there is none.
local id, n = ARGV[1], tonumber(ARGV[2])
local tenant = redis.call('HGET', K.endpoint(id), 'tenant_id')
if not tenant then return 0 end
if n == 0 then
  redis.call('DEL', K.endpoint(id))
  redis.call('ZREM', K.endpoints(), id)
  redis.call('ZREM', K.tenant_endpoints(tenant), id)
  return 1
end
redis.call('HSET', K.endpoint(id), unpack(ARGV, 3, 2 + 2 * n))
if redis.call('HGET', K.endpoint(id), 'enabled') == '1' then redis.call('HDEL', K.endpoint(id), 'disabled_reason') end
return 1
