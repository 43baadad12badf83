#!lua
-- The writer of an upload has stored the bytes up to a new offset: they count from now on. Keeps its lock, or gives it back.
-- KEYS: prefix
-- ARGV: id, token of the writer, offset before, offset now, lock ms (0: give it back), ttl ms, number of parts, name of each, ..., admission
-- Returns {'ok', expires_at} | {'unknown'} | {'lost'} (another writer has the lock: nothing is counted). Sent again: the same, counted once.
local id, token, before, now, n = ARGV[1], ARGV[2], ARGV[3], ARGV[4], tonumber(ARGV[7])
local known = redis.call('HMGET', K.upload(id), 'offset', 'token', 'length')
if not known[1] then return {'unknown'} end
if known[2] ~= token then return {'lost'} end
local again = known[1] == now and (n == 0 or redis.call('LINDEX', K.upload_parts(id), -1) == ARGV[7 + n])
if not again and known[1] ~= before then return {'lost'} end
local lock = tonumber(ARGV[5])
local expires = int(NOW + tonumber(ARGV[6]))
-- The token stays: a repeated call must know its writer.
redis.call('HSET', K.upload(id), 'offset', now, 'lock_until', lock > 0 and int(NOW + lock) or '0', 'expires_at', expires)
redis.call('ZADD', K.uploads(), expires, id)
if not again then
  for i = 8, 7 + n do redis.call('RPUSH', K.upload_parts(id), ARGV[i]) end
end
if now == known[3] then redis.call('HSETNX', K.upload(id), 'completed_at', int(NOW)) end
return {'ok', expires}
