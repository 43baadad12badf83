#!lua flags=allow-oom
-- Remove the rows of the audit log that are older than `kept`. Reads only the index of its streams, and those with such rows.
--@args kept:ms limit:int
-- Returns how many streams had such rows; fewer than the limit means there are no more (or as many, if there is more to do otherwise).
local oldest = int(math.max(0, NOW - kept))
local names = redis.call('ZRANGEBYSCORE', K.audit_streams(), '-inf', '(' .. oldest, 'LIMIT', 0, limit)
for _, name in ipairs(names) do
  local class, tenant = string.match(name, '(%w+):(.*)')
  local key = audit_stream(class, tenant)
  redis.call('XTRIM', key, 'MINID', oldest)
  if redis.call('XLEN', key) == 0 then redis.call('DEL', key) end
  index_audit(class, tenant)
end
local places = redis.call('ZRANGE', K.audit_order(), '-', '(' .. string.format('%015d', oldest), 'BYLEX', 'LIMIT', 0, 1000)
if #places > 0 then redis.call('ZREM', K.audit_order(), unpack(places)) end
return #places < 1000 and #names or limit
