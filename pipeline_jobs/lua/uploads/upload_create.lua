#!lua
-- Begin an upload: its record, and its whole length counted for the tenant.
-- KEYS: prefix
-- ARGV: id, tenant, workspace, length, metadata (JSON), folder, ttl ms, most uploads of a tenant, admission
-- Returns {'ok', created_at, expires_at} | {'many'} | {'storage'} (the tenant keeps as much as it may).
-- Sent again: the same 'ok', one upload.
local id, tenant, length = ARGV[1], ARGV[2], tonumber(ARGV[4])
local known = redis.call('HMGET', K.upload(id), 'created_at', 'expires_at')
if known[1] then return {'ok', known[1], known[2]} end
if redis.call('ZCARD', K.tenant_uploads(tenant)) >= tonumber(ARGV[8]) then return {'many'} end
local most = limits_of(tenant).max_storage_bytes
if most and kept_bytes(tenant) + length > most then return {'storage'} end
local expires = int(NOW + tonumber(ARGV[7]))
redis.call('HSET', K.upload(id), 'upload_id', id, 'tenant_id', tenant, 'workspace_id', ARGV[3], 'length', ARGV[4], 'offset', '0', 'metadata', ARGV[5],
  'folder', ARGV[6], 'created_at', int(NOW), 'expires_at', expires)
if length == 0 then redis.call('HSET', K.upload(id), 'completed_at', int(NOW)) end
redis.call('ZADD', K.uploads(), expires, id)
-- No two of a tenant have one place in its list: a page goes on behind the last one's.
local order = math.max(TIME[1] * 1000000 + TIME[2], tonumber(redis.call('GET', K.order()) or '0') + 1)
redis.call('SET', K.order(), int(order))
redis.call('ZADD', K.tenant_uploads(tenant), int(order), id)
redis.call('HINCRBY', K.usage(tenant), 'upload_bytes', ARGV[4])
return {'ok', int(NOW), expires}
