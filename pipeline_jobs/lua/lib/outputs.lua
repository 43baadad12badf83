-- Outputs of stages, kept for retries: a record names its outputs (`outputs`, JSON) and those of their files that are in the artifact
-- store (`blobs`, comma separated `{sha256}-{bytes}`). For each blob of a tenant the records that name it are counted; one that no record
-- names goes to the trash.

local function count_blobs(tenant, blobs, by)
  for blob in string.gmatch(blobs, '[^,]+') do
    local named = redis.call('HINCRBY', K.outputs(tenant), blob, by)
    if named <= 0 then
      redis.call('HDEL', K.outputs(tenant), blob)
      redis.call('RPUSH', K.trash(), tenant .. '/_outputs/' .. blob)
    end
    if named <= 0 or (named == 1 and by > 0) then
      local bytes = tonumber(string.match(blob, '%-(%d+)$'))
      redis.call('HINCRBY', K.usage(tenant), 'output_bytes', named <= 0 and -bytes or bytes)
    end
  end
end

-- Replaces the outputs of a record. The new ones are counted first: a blob that both name must not be removed in between.
local function set_outputs(id, job, outputs, blobs)
  local before = redis.call('HGET', K.job(id), 'blobs') or ''
  count_blobs(job.tenant_id, blobs, 1)
  count_blobs(job.tenant_id, before, -1)
  job.store_bytes = owe(job.tenant_id, bytes_of(#outputs - redis.call('HSTRLEN', K.job(id), 'outputs')), id)
  redis.call('HSET', K.job(id), 'outputs', outputs)
  if blobs ~= '' then
    redis.call('HSET', K.job(id), 'blobs', blobs)
  elseif before ~= '' then
    redis.call('HDEL', K.job(id), 'blobs')
  end
end
