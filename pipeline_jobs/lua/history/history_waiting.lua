#!lua flags=no-writes
-- How much waits to be moved into the history. Of very many tenants a thousand are looked at, those that have waited longest for a turn.
--@reply waiting tenants since
-- since: when the one ended that has waited longest, in ms; '': nothing waits.
local waiting, since = 0, nil
for _, tenant in ipairs(redis.call('ZRANGE', K.unmoved_tenants(), 0, 999)) do
  waiting = waiting + redis.call('ZCARD', K.unmoved(tenant))
  local first = redis.call('ZRANGE', K.unmoved(tenant), 0, 0, 'WITHSCORES')
  if first[2] and (not since or tonumber(first[2]) < since) then since = tonumber(first[2]) end
end
return {waiting, redis.call('ZCARD', K.unmoved_tenants()), since and int(since) or ''}
