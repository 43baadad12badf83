#!lua
-- Become the only writer of an upload for a while, if it is at this offset. token: of the writer. offset: where it wants to write.
-- share: see lib/submit_limits.
--@args id token offset:digits lock_ms:int share:int
--@reply 'ok' parts
--@reply 'unknown'
--@reply 'locked' left_ms
--@reply 'offset' offset
--@reply 'memory'
-- parts: how many it has. 'locked': another writer has the lock, for so long at most. 'offset': the upload is at this other offset. 'memory': the tenant holds more
-- than its share.
local known = redis.call('HMGET', K.upload(id), 'offset', 'token', 'lock_until', 'tenant_id')
if not known[1] then return {'unknown'} end
local left = tonumber(known[3] or '0') - NOW
-- A lock that is longer than a lock may be was given before the clock was set back.
if left > 0 and left <= lock_ms and known[2] ~= token then return {'locked', int(left)} end
if known[1] ~= offset then return {'offset', known[1]} end
if over_share(known[4], share) then return {'memory'} end
redis.call('HSET', K.upload(id), 'token', token, 'lock_until', int(NOW + lock_ms))
return {'ok', redis.call('LLEN', K.upload_parts(id))}
