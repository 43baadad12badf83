#!lua flags=allow-oom
-- Remove the row of a folder that was kept after its job's record; its files go to the trash. A record with this id stays as it is.
--@args id tenant
--@once
-- Returns 1, or 0: the tenant has no such folder.
for _, name in ipairs({id, id .. '@' .. tenant}) do
  if redis.call('HGET', K.kept(name), 'tenant_id') == tenant then return drop_folder(name) and 1 or 0 end
end
return 0
