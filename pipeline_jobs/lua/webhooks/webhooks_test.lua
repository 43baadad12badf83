#!lua
-- Send a test event to one endpoint, whatever types it wants.
--@args id nonce
--@reply 'ok' delivery_id
--@reply 'unknown'
--@reply 'disabled'
-- Sent again: the same.
local endpoint = redis.call('HMGET', K.endpoint(id), 'tenant_id', 'enabled')
if not endpoint[1] then return {'unknown'} end
if endpoint[2] ~= '1' then return {'disabled'} end
local told = {
  type = 'endpoint.test', tenant = endpoint[1], workspace = '', subject = id, seed = id .. '|' .. nonce, only = id,
  fields = {'endpoint_id', id, 'tenant_id', endpoint[1]},
}
local made = outbox(told)
if made[1] then return {'ok', made[1]} end
local event_id = string.sub(redis.sha1hex(told.type .. '|' .. told.seed), 1, 32)
return {'ok', 'msg_' .. string.sub(redis.sha1hex(event_id .. '|' .. id), 1, 32)}
