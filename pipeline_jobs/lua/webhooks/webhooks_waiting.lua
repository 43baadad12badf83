#!lua flags=no-writes
-- How many deliveries wait to be sent, and since when the first of them does, for metrics.
--@reply waiting since whole
-- since: ms; '' where none waits. whole: '' if there were too many tenants with some to look at all of them.
local tenants, waiting, since = {}, 0, nil

-- A tenant with a pending delivery is in the ring, has a lane that waits for its time, or a delivery that is being sent.
for _, tenant in ipairs(redis.call('ZRANGE', K.webhook_ring(), 0, WORK_MOST)) do tenants[tenant] = true end
for _, lane in ipairs(redis.call('ZRANGE', K.webhook_wake(), 0, WORK_MOST)) do tenants[string.match(lane, '^(%S+)')] = true end
for _, lease in ipairs(redis.call('ZRANGE', K.webhook_leases(), 0, WORK_MOST)) do tenants[string.match(lease, '^%S+ %S+ (%S+)')] = true end
for tenant in pairs(tenants) do
  if worked_enough() then break end
  spend(2)
  local first = redis.call('ZRANGE', K.deliveries_in(tenant, 'pending'), 0, 0, 'WITHSCORES')
  if first[1] then
    waiting = waiting + redis.call('ZCARD', K.deliveries_in(tenant, 'pending'))
    -- An order is the time in microseconds.
    local at = tonumber(first[2]) / 1000
    since = math.min(since or at, at)
  end
end
return {int(waiting), since and int(since) or '', worked_enough() and '' or '1'}
