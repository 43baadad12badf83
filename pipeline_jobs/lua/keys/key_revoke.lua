#!lua flags=allow-oom
-- Revoke an API key of this tenant for good. It works on a full server too, so that a stolen key can always be revoked.
--@args id tenant actor detail
-- Returns 1 | 0: the tenant has no such key. Sent again: the same, with one row in the audit log.
if redis.call('HGET', K.api_key(id), 'tenant_id') ~= tenant then return 0 end
if redis.call('HSETNX', K.api_key(id), 'revoked_at', int(NOW)) == 1 then record_audit('security', tenant, actor, 'key.revoked', id, detail) end
return 1
