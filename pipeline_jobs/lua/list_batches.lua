#!lua flags=no-writes
-- A page of batches, newest first.
-- KEYS: prefix, index (a zset of order->batch)
-- ARGV: highest order ('(' in front: exclusive, or '+inf'), most batches, admission
-- Returns {order of the last one if there are more, or '', {field, value, ...}, ...}.
local limit = tonumber(ARGV[2])
local flat = redis.call('ZREVRANGEBYSCORE', KEYS[2], ARGV[1], '-inf', 'WITHSCORES', 'LIMIT', 0, limit + 1)
local page = {#flat > 2 * limit and flat[2 * limit] or ''}
for i = 1, math.min(#flat, 2 * limit), 2 do
  local record = redis.call('HGETALL', K.batch(flat[i]))
  if #record > 0 then page[#page + 1] = record end
end
return page
