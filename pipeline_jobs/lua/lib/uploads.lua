-- Uploads: how much a tenant keeps, which jobs need which upload, how an upload is removed.

-- The bytes that a tenant keeps: its jobs' artifacts and kept outputs, and the whole promised length of its uploads (so that many that
-- begin at once cannot exceed the limit).
local function kept_bytes(tenant)
  local kept = redis.call('HMGET', K.usage(tenant), 'artifact_bytes', 'output_bytes', 'upload_bytes')
  return (kept[1] or 0) + (kept[2] or 0) + (kept[3] or 0)
end

-- Looks up the upload that each new job's url names. Returns the reply for those that cannot be used: {'upload', number of a job (from
-- 0), why, ...}, or nil. An upload of another workspace is reported as unknown. A job whose message is at a worker already (`adopt`), or
-- whose schedule slot has come (`anyway`), is accepted all the same, without holding the upload: its fetch will report what is wrong.
local function bad_upload(asked)
  local reply
  for i = 1, #asked do
    local new = asked[i]
    local job, url = new.job, new.job.url
    local upload = url and string.match(url, '^upload://(%x+)$')
    if upload then
      job.upload = upload
      local known = redis.call('HMGET', K.upload(job.upload), 'tenant_id', 'workspace_id', 'completed_at')
      local why = (known[1] ~= job.tenant_id or known[2] ~= job.workspace_id) and 'unknown' or not known[3] and 'incomplete'
      if why and (new.adopt or new.anyway) then
        job.upload = nil
      elseif why then
        reply = reply or {'upload'}
        reply[#reply + 1] = i - 1
        reply[#reply + 1] = why
      end
    end
  end
  return reply
end

local function use_upload(id, job)
  redis.call('HSET', K.job(id), 'upload', job.upload)
  redis.call('SADD', K.upload_jobs(job.upload), id)
end

-- Charges the tenant for an upload's record and the names of its parts.
local function charge_upload(upload, tenant, bytes)
  owe(tenant, bytes)
  redis.call('HINCRBY', K.upload(upload), 'store_bytes', int(bytes))
end

-- Record, index and list of parts are removed now, the files with the trash.
local function drop_upload(upload)
  local known = redis.call('HMGET', K.upload(upload), 'tenant_id', 'length', 'folder', 'store_bytes')
  redis.call('ZREM', K.uploads(), upload)
  if not known[1] then return false end
  redis.call('ZREM', K.tenant_uploads(known[1]), upload)
  redis.call('HINCRBY', K.usage(known[1]), 'upload_bytes', -tonumber(known[2]))
  owe(known[1], -(known[4] or 0))
  redis.call('RPUSH', K.trash(), known[3])
  redis.call('DEL', K.upload(upload), K.upload_parts(upload), K.upload_jobs(upload))
  return true
end
