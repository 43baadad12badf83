#!lua flags=no-writes
-- A page of batches, newest first, and one more if there is one.
-- KEYS: prefix, index (a zset of order->batch)
-- ARGV: highest order ('(' in front: exclusive, or '+inf'), most batches, admission
-- Returns {{field, value, ...}, ...}.
local found = {}
for _, id in ipairs(redis.call('ZREVRANGEBYSCORE', KEYS[2], ARGV[1], '-inf', 'LIMIT', 0, tonumber(ARGV[2]) + 1)) do
  found[#found + 1] = redis.call('HGETALL', K.batch(id))
end
return found
