#!lua
-- Become the one writer of an upload, for a while.
-- KEYS: prefix
-- ARGV: id, token of the writer, offset it writes from, lock ms, admission
-- Returns {'ok'} | {'unknown'} | {'locked', ms until it ends} | {'offset', the right one}.
local id, token = ARGV[1], ARGV[2]
local known = redis.call('HMGET', K.upload(id), 'offset', 'token', 'lock_until')
if not known[1] then return {'unknown'} end
local left = tonumber(known[3] or '0') - NOW
if left > 0 and known[2] ~= token then return {'locked', int(left)} end
if known[1] ~= ARGV[3] then return {'offset', known[1]} end
redis.call('HSET', K.upload(id), 'token', token, 'lock_until', int(NOW + tonumber(ARGV[4])))
return {'ok'}
