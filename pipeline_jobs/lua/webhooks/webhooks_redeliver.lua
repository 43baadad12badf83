#!lua
-- Send a delivery now: one that has ended starts again with all its attempts; a pending one is due at once.
--@args id
-- Returns 'ok' | 'unknown' | 'gone' (it was delivered, and the record of which it would be made again was removed). A delivery that is being sent is left alone. Sent again: the same.
local row = load_delivery(id)
if not row then return 'unknown' end
if row.lease then return 'ok' end
local kept = redis.call('HMGET', K.webhook_event(row.event_id), 'webhook_ref', 'order')
local key = row.type == 'batch.completed' and K.batch(row.subject) or K.job(row.subject)
if kept[1] and redis.call('HGET', key, 'order') ~= kept[2] then return 'gone' end
if row.status ~= 'pending' then
  move_delivery(id, row, 'pending')
  redis.call('HSET', K.delivery(id), 'tries', '0')
  redis.call('HDEL', K.delivery(id), 'ended_at')
  redis.call('ZREM', K.deliveries_ended(), id)
end
redis.call('HSET', K.delivery(id), 'next_try_at', int(NOW))
await_turn(id, row.tenant_id, row.host, NOW)
return 'ok'
