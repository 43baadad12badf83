#!lua flags=allow-oom
-- Forget all that is kept of a tenant's stages for other jobs; the files that no record names go to the trash.
--@args tenant
-- Returns whether (1) there is more to be forgotten: some are done at once. Sent again: the rest.
drop_reused_while(tenant, function() return true end)
return redis.call('EXISTS', K.reuse_used(tenant))
