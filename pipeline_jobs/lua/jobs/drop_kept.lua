#!lua flags=allow-oom
-- Remove the row of a folder that was kept after its job's record; its files go to the trash. A record with this id stays as it is.
--@args id tenant
--@once
-- Returns 1, or 0: the tenant has no such folder.
if redis.call('HGET', K.kept(id), 'tenant_id') ~= tenant then return 0 end
return drop_folder(id) and 1 or 0
