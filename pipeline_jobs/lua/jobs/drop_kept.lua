#!lua flags=allow-oom
-- Remove the row of a folder that was kept after its job's record; its files go to the trash, and what other jobs would be given of it. A
-- record with this id stays as it is.
--@args id tenant
--@once
-- Returns 1, or 0: the tenant has no such folder.
for _, name in ipairs({id, id .. '@' .. tenant}) do
  local row = redis.call('HMGET', K.kept(name), 'tenant_id', 'workspace_id', 'reuse_keys')
  if row[1] == tenant then
    drop_reused_of(tenant, row[2], row[3])
    return drop_folder(name) and 1 or 0
  end
end
return 0
