#!lua flags=allow-oom
-- Gives tenants that have no rank yet the next ones, in this order. A rank is kept for good.
--@args tenants:list
-- Returns all tenants that have one, in their order.
for _, tenant in ipairs(tenants) do redis.call('ZADD', K.ranks(), 'NX', redis.call('ZCARD', K.ranks()), tenant) end
return redis.call('ZRANGE', K.ranks(), 0, -1)
