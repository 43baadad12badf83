#!lua
-- Send a delivery now: one that has ended starts again with all its attempts; a pending one is due at once.
--@args id
-- Returns 'ok' | 'unknown'. A delivery that is being sent is left alone. Sent again: the same.
local row = load_delivery(id)
if not row then return 'unknown' end
if row.lease then return 'ok' end
if row.status ~= 'pending' then
  move_delivery(id, row, 'pending')
  redis.call('HSET', K.delivery(id), 'tries', '0')
  redis.call('HDEL', K.delivery(id), 'ended_at')
  redis.call('ZREM', K.deliveries_ended(), id)
end
redis.call('HSET', K.delivery(id), 'next_try_at', int(NOW))
await_turn(id, row.tenant_id, row.host, NOW)
return 'ok'
