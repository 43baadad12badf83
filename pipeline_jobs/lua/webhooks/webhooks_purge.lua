#!lua flags=allow-oom
-- Remove expired rows of the ledger. Reads only the index of ended deliveries.
--@args limit:int
-- Returns how many it removed; fewer than the limit means there are no more.
local ids = redis.call('ZRANGEBYSCORE', K.deliveries_ended(), '-inf', int(NOW), 'LIMIT', 0, limit)
for _, id in ipairs(ids) do
  local row = load_delivery(id)
  if row then drop_delivery(id, row) else redis.call('ZREM', K.deliveries_ended(), id) end
end
return #ids
