#!lua
-- Create an upload: its record, and its whole length counted for the tenant. metadata: JSON. most: the maximum number of uploads of a
-- tenant. share: see lib/submit_limits.
--@args id tenant workspace length:int metadata folder ttl_ms:int most:int share:int
--@settings storage
--@reply 'ok' created_at expires_at
--@reply 'many'
--@reply 'storage'
--@reply 'memory'
-- 'storage': the tenant would exceed its storage limit. 'memory': it holds more than its share. Sent again: the same 'ok', one upload.
local known = redis.call('HMGET', K.upload(id), 'created_at', 'expires_at')
if known[1] then return {'ok', known[1], known[2]} end
if redis.call('ZCARD', K.tenant_uploads(tenant)) >= most then return {'many'} end
if over_share(tenant, share) then return {'memory'} end
local bytes = max_storage_of(tenant)
if bytes and (length > bytes or keeps_more(tenant, bytes - length)) then return {'storage'} end
local expires = int(NOW + ttl_ms)
redis.call('HSET', K.upload(id), 'upload_id', id, 'tenant_id', tenant, 'workspace_id', workspace, 'length', int(length), 'offset', '0', 'metadata', metadata,
  'folder', folder, 'created_at', int(NOW), 'expires_at', expires, 'store_bytes', 0)
charge_upload(id, tenant, 480 + bytes_of(#metadata))
if length == 0 then redis.call('HSET', K.upload(id), 'completed_at', int(NOW)) end
redis.call('ZADD', K.uploads(), expires, id)
-- No two uploads of a tenant have the same place in its list: a page begins after the last one's.
local order = math.max(MICROS, tonumber(redis.call('GET', K.order()) or '0') + 1)
redis.call('SET', K.order(), int(order))
redis.call('ZADD', K.tenant_uploads(tenant), int(order), id)
redis.call('HINCRBY', K.usage(tenant), 'upload_bytes', int(length))
return {'ok', int(NOW), expires}
