#!lua
-- Send a test event to one endpoint, whatever types it wants. share: see lib/submit_limits.
--@args id nonce share:int
--@reply 'ok' delivery_id
--@reply 'unknown'
--@reply 'disabled'
--@reply 'full' what retry_after
-- 'full': 'webhooks' | 'memory', as in submit: a test is one more that waits, and its row is kept. Sent again: the same.
local endpoint = redis.call('HMGET', K.endpoint(id), 'tenant_id', 'enabled')
if not endpoint[1] then return {'unknown'} end
local tenant, seed = endpoint[1], id .. '|' .. nonce
local event_id = string.sub(redis.sha1hex('endpoint.test|' .. seed), 1, 32)
local delivery = 'msg_' .. string.sub(redis.sha1hex(event_id .. '|' .. id), 1, 32)
if redis.call('EXISTS', K.delivery(delivery)) == 1 then return {'ok', delivery} end
if endpoint[2] ~= '1' then return {'disabled'} end
if webhooks_full(tenant, 0, 0) then return {'full', 'webhooks', 300} end
if over_share(tenant, share) then return {'full', 'memory', 30} end
outbox({
  type = 'endpoint.test', tenant = tenant, workspace = '', subject = id, seed = seed, only = id,
  fields = {'endpoint_id', id, 'tenant_id', tenant},
})
return {'ok', delivery}
