-- Folders of artifacts that are kept after the record of their job: each has a row until its time comes, until it is deleted, or until its
-- tenant needs the room. While there is a record, that is what says where the artifacts are. A row has the name of its job's id, and where
-- a row of another tenant has that, `id@tenant`.

-- The files of a job go with the trash. What Celery has not been told of may have its result there: then they go after that.
local function drop_files(id, path)
  for _, key in ipairs({K.continuation(id), K.later_continuation(id, string.match(path, '[^/]*$'))}) do
    if redis.call('HGET', key, 'artifacts') == path then return redis.call('HSET', key, 'folder', path) end
  end
  redis.call('RPUSH', K.trash(), path)
end

-- The row goes now. Returns whether there was one.
local function drop_folder(name)
  local row = redis.call('HMGET', K.kept(name), 'tenant_id', 'path', 'bytes', 'store_bytes', 'job_id', 'counted')
  redis.call('ZREM', K.kept_until(), name)
  if not row[1] then return false end
  redis.call('ZREM', K.tenant_kept(row[1]), name)
  redis.call('HINCRBY', K.usage(row[1]), 'artifact_bytes', -tonumber(row[3]))
  if row[6] then redis.call('HINCRBY', K.usage(row[1]), 'folder_bytes', -tonumber(row[3])) end
  owe(row[1], -(row[4] or 0))
  drop_files(row[5], row[2])
  redis.call('DEL', K.kept(name))
  -- A worker of the version before drops rows without it.
  if redis.call('EXISTS', K.tenant_kept(row[1])) == 0 then redis.call('HDEL', K.usage(row[1]), 'folder_bytes') end
  return true
end

-- Its bytes stay counted for the tenant, and the row is charged like a record. counted: `folder_bytes` of the usage has it, which rows of
-- the versions before are not in. reuse_keys: of its record, for whoever deletes the folder; false: none.
local KEPT_BYTES = 440
local function keep_folder(id, job, reuse_keys)
  -- Of an earlier job of the tenant with this id.
  local name = id .. '@' .. job.tenant_id
  drop_folder(name)
  local owner = redis.call('HGET', K.kept(id), 'tenant_id')
  if owner == job.tenant_id then drop_folder(id) end
  if not owner or owner == job.tenant_id then name = id end
  local bytes, charge = job.artifact_bytes or '0', KEPT_BYTES + bytes_of(#(reuse_keys or ''))
  redis.call('HSET', K.kept(name), 'job_id', id, 'tenant_id', job.tenant_id, 'workspace_id', job.workspace_id, 'path', job.artifacts,
    'bytes', bytes, 'order', job.order, 'expires_at', job.artifacts_expire_at, 'store_bytes', charge, 'counted', '1')
  if reuse_keys then redis.call('HSET', K.kept(name), 'reuse_keys', reuse_keys) end
  redis.call('HINCRBY', K.usage(job.tenant_id), 'folder_bytes', bytes)
  owe(job.tenant_id, charge)
  redis.call('ZADD', K.tenant_kept(job.tenant_id), job.order, name)
  redis.call('ZADD', K.kept_until(), job.artifacts_expire_at, name)
end

-- Whether a tenant keeps more than so many bytes. If so, what it keeps only for other jobs to use again goes first, then its oldest folders
-- without a record; none where all would not do. To be asked last: what is refused for another reason costs no folder.
local function keeps_more(tenant, most)
  if kept_bytes(tenant) <= most then return false end
  drop_reused_while(tenant, function() return kept_bytes(tenant) > most end)
  while kept_bytes(tenant) > most do
    local oldest = not worked_enough() and redis.call('ZRANGE', K.tenant_kept(tenant), 0, 0)[1]
    if not oldest then return true end
    local all = tonumber(redis.call('HGET', K.usage(tenant), 'folder_bytes') or '0')
    if kept_bytes(tenant) - all > most and redis.call('HEXISTS', K.kept(oldest), 'counted') == 1 then return true end
    drop_folder(oldest)
    spend(11)
  end
  return false
end
