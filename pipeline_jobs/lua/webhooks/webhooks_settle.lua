#!lua flags=allow-oom
-- Record the outcome of an attempt; only the holder of the lease may. outcome: delivered | retry | dead | gone. attempt: JSON. slow: the
-- host was slow. ttl_ms: of the ledger. url: where it was sent.
--@args lease outcome attempt error? delay:ms slow:flag ttl_ms:int url?
-- Returns the status afterwards | 'lost': the lease is no longer held, and nothing was written. Sent again: the same status. 'gone'
-- (410): the receiver wants no more messages, so its endpoint is disabled, unless it has another URL by now: then it is sent there.
local id, fence, tenant, host = string.match(lease, '^(%S+) (%S+) (%S+) (%S+)')
local row = load_delivery(id)
if not row then return 'lost' end
local endpoint = row.endpoint_id ~= '' and redis.call('HGET', K.endpoint(row.endpoint_id), 'url')
if outcome == 'gone' and endpoint and url ~= '' and endpoint ~= url then outcome = 'retry' end
if redis.call('ZREM', K.webhook_leases(), lease) == 0 then
  return redis.call('HGET', K.delivery(id), 'settled') == fence and row.status or 'lost'
end
redis.call('HSET', K.delivery(id), 'settled', fence)
redis.call('HDEL', K.delivery(id), 'lease')
redis.call('HINCRBY', K.delivery(id), 'tries', 1)
redis.call('RPUSH', K.delivery_attempts(id), int(NOW) .. ' ' .. attempt)
redis.call('LTRIM', K.delivery_attempts(id), -50, -1)
if slow then note_slow(tenant, host) else forget_slow(tenant, host) end
if outcome == 'retry' then
  redis.call('HSET', K.delivery(id), 'error', error, 'next_try_at', int(NOW + delay))
  await_turn(id, tenant, host, NOW + delay)
  count('webhook_deliveries', 'retried')
  return 'pending'
end
end_delivery(id, row, outcome == 'delivered' and 'delivered' or 'dead', error, ttl_ms)
count('webhook_deliveries', outcome)
if outcome == 'gone' and endpoint then
  redis.call('HSET', K.endpoint(row.endpoint_id), 'enabled', '', 'disabled_reason', 'gone')
end
return row.status
