-- Folders of artifacts that are kept after the record of their job: each has a row until its time comes, until it is deleted, or until its
-- tenant needs the room. While there is a record, that is what says where the artifacts are.

-- The row goes now, the files with the trash. Returns whether there was one.
local function drop_folder(id)
  local row = redis.call('HMGET', K.kept(id), 'tenant_id', 'path', 'bytes', 'store_bytes')
  redis.call('ZREM', K.kept_until(), id)
  if not row[1] then return false end
  redis.call('ZREM', K.tenant_kept(row[1]), id)
  redis.call('HINCRBY', K.usage(row[1]), 'artifact_bytes', -tonumber(row[3]))
  owe(row[1], -(row[4] or 0))
  redis.call('RPUSH', K.trash(), row[2])
  redis.call('DEL', K.kept(id))
  return true
end

-- Its bytes stay counted for the tenant, and the row is charged like a record.
local KEPT_BYTES = 440
local function keep_folder(id, job)
  -- Of an earlier job with this id.
  drop_folder(id)
  redis.call('HSET', K.kept(id), 'job_id', id, 'tenant_id', job.tenant_id, 'workspace_id', job.workspace_id, 'path', job.artifacts,
    'bytes', job.artifact_bytes or '0', 'order', job.order, 'expires_at', job.artifacts_expire_at, 'store_bytes', KEPT_BYTES)
  owe(job.tenant_id, KEPT_BYTES)
  redis.call('ZADD', K.tenant_kept(job.tenant_id), job.order, id)
  redis.call('ZADD', K.kept_until(), job.artifacts_expire_at, id)
end

-- Whether a tenant keeps more than so many bytes. If so, its oldest folders without a record go first.
local function keeps_more(tenant, most)
  while kept_bytes(tenant) > most do
    local oldest = not worked_enough() and redis.call('ZRANGE', K.tenant_kept(tenant), 0, 0)[1]
    if not oldest then return true end
    drop_folder(oldest)
    spend(8)
  end
  return false
end
