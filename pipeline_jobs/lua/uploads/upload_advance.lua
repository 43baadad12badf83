#!lua
-- The writer of an upload has stored the bytes up to a new offset: they count from now on. Renews its lock, or releases it (lock_ms: 0).
-- before, now: the offset. parts: names of the new parts.
--@args id token before:digits now:digits lock_ms:int ttl_ms:int parts:list
--@reply 'ok' expires_at
--@reply 'unknown'
--@reply 'lost'
-- 'lost': another writer has the lock, and nothing is counted. Sent again: the same, counted once.
local known = redis.call('HMGET', K.upload(id), 'offset', 'token', 'length', 'tenant_id')
if not known[1] then return {'unknown'} end
if known[2] ~= token then return {'lost'} end
local again = known[1] == now and (#parts == 0 or redis.call('LINDEX', K.upload_parts(id), -1) == parts[#parts])
if not again and known[1] ~= before then return {'lost'} end
local expires = int(NOW + ttl_ms)
-- The token stays: a repeated call must recognise its writer.
redis.call('HSET', K.upload(id), 'offset', now, 'lock_until', lock_ms > 0 and int(NOW + lock_ms) or '0', 'expires_at', expires)
redis.call('ZADD', K.uploads(), expires, id)
if not again then
  for _, part in ipairs(parts) do redis.call('RPUSH', K.upload_parts(id), part) end
  if parts[1] then charge_upload(id, known[4], bytes_of(0, parts)) end
end
if now == known[3] then redis.call('HSETNX', K.upload(id), 'completed_at', int(NOW)) end
return {'ok', expires}
