#!lua
-- Give an endpoint, or a tenant (for the webhooks of its jobs), a new secret; the old one also signs for a while (overlap; none: create a
-- secret only if there is none yet).
--@args what id nonce check overlap:ms?
--@reply nonce check old_nonce old_check old_until
-- what: 'endpoint' | 'tenant'. The parts of the old secret may be ''. Nothing: there is no such endpoint. Sent again (the same nonce):
-- the same.
local key = what == 'endpoint' and K.endpoint(id) or K.webhook_secret(id)
if what == 'endpoint' and redis.call('EXISTS', key) == 0 then return {} end
local known = redis.call('HMGET', key, 'nonce', 'check')
if not known[1] then
  redis.call('HSET', key, 'nonce', nonce, 'check', check)
elseif overlap and known[1] ~= nonce then
  redis.call('HSET', key, 'nonce', nonce, 'check', check, 'old_nonce', known[1], 'old_check', known[2], 'old_until', int(NOW + overlap))
end
local now = redis.call('HMGET', key, 'nonce', 'check', 'old_nonce', 'old_check', 'old_until')
local old = now[5] and tonumber(now[5]) > NOW
return {now[1], now[2], old and now[3] or '', old and now[4] or '', old and now[5] or ''}
