#!lua flags=allow-oom
-- Remove expired uploads. One that a live job needs or that is being written is looked at again later.
--@args limit:int later_ms:int
--@reply looked_at removed
local ids = redis.call('ZRANGEBYSCORE', K.uploads(), '-inf', int(NOW), 'LIMIT', 0, limit)
local removed = 0
for _, id in ipairs(ids) do
  if redis.call('SCARD', K.upload_jobs(id)) > 0 or tonumber(redis.call('HGET', K.upload(id), 'lock_until') or '0') > NOW then
    redis.call('ZADD', K.uploads(), int(NOW + later_ms), id)
  elseif drop_upload(id) then
    removed = removed + 1
  end
end
return {#ids, removed}
