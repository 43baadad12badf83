#!lua
-- Create an API key. hash: of its secret, by which a repeated call (its reply was lost) finds its own key. limit: the maximum number of
-- keys of a tenant; when it is reached, the oldest revoked or expired key is removed.
--@args id tenant hash limit:int actor detail fields:pairs
--@reply 'ok' created_at
--@reply 'taken'
--@reply 'full'
local known = redis.call('HMGET', K.api_key(id), 'hash', 'created_at')
if known[1] then return known[1] == hash and {'ok', known[2]} or {'taken'} end

-- Removes a key that can no longer be used. Returns whether there was one.
local function make_room()
  for _, old in ipairs(redis.call('ZRANGE', K.tenant_api_keys(tenant), 0, -1)) do
    local state = redis.call('HMGET', K.api_key(old), 'revoked_at', 'expires_at')
    if state[1] or (state[2] and tonumber(state[2]) <= NOW) then
      redis.call('DEL', K.api_key(old))
      redis.call('ZREM', K.tenant_api_keys(tenant), old)
      redis.call('ZREM', K.api_keys(), old)
      return true
    end
  end
  return false
end

if redis.call('ZCARD', K.tenant_api_keys(tenant)) >= limit and not make_room() then return {'full'} end
redis.call('HSET', K.api_key(id), 'key_id', id, 'tenant_id', tenant, 'hash', hash, 'created_at', int(NOW), unpack(fields))
redis.call('ZADD', K.tenant_api_keys(tenant), NOW, id)
redis.call('ZADD', K.api_keys(), NOW, id)
redis.call('SET', K.api_keys_on(), '1')
record_audit('security', tenant, actor, 'key.created', id, detail)
return {'ok', int(NOW)}
