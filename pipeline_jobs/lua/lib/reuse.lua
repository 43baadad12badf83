-- Outputs of stages that other jobs of a workspace use again (docs/reuse.md). An entry is a row `charge bytes blobs output`, under
-- `workspace:key`. It is one more holder of its blobs (`outputs.lua`), so they stay when the job goes that made them, and a job that takes
-- an output holds the blobs itself: whatever becomes of the entry, the files that a job reads are there.

-- The maximum number of a tenant's entries, the longest output that is one, in bytes of JSON, and what an entry takes of the server beside
-- its texts.
local REUSED_MOST = 500
local OUTPUT_BYTES = 32768
local REUSED_BYTES = 250

local function blob_bytes(blobs)
  local bytes = 0
  for size in string.gmatch(blobs, '%-(%d+)') do bytes = bytes + size end
  return bytes
end

local function drop_reused(tenant, member)
  redis.call('ZREM', K.reuse_used(tenant), member)
  local row = redis.call('HGET', K.reuse(tenant), member)
  if not row then return end
  local charge, bytes, blobs = string.match(row, '^(%d+) (%d+) (%S*) ')
  redis.call('HDEL', K.reuse(tenant), member)
  owe(tenant, -charge)
  redis.call('HINCRBY', K.usage(tenant), 'reuse_bytes', -bytes)
  count_blobs(tenant, blobs, -1)
  spend(6 + #blobs / 25)
end

-- Drops the entries whose last use was first, while `over()` says that there are too many. Returns how many.
local function drop_reused_while(tenant, over)
  local dropped = 0
  while over() and not worked_enough() do
    local oldest = redis.call('ZRANGE', K.reuse_used(tenant), 0, 0)[1]
    if not oldest then break end
    drop_reused(tenant, oldest)
    dropped = dropped + 1
  end
  return dropped
end

-- Who deletes a job means what was made of its source, too. Other jobs that use it have their own part of it. keys: as `note_reused` wrote them.
local function drop_reused_of(tenant, workspace, keys)
  for key in string.gmatch(keys or '', '[^,]+') do drop_reused(tenant, workspace .. ':' .. key) end
end

-- The job has to do with this entry: it made it, or used it.
local function note_reused(id, job, key)
  local keys = redis.call('HGET', K.job(id), 'reuse_keys')
  if keys and string.find(keys, key, 1, true) then return end
  redis.call('HSET', K.job(id), 'reuse_keys', keys and keys .. ',' .. key or key)
  job.store_bytes = owe(job.tenant_id, bytes_of(#key + 1), id)
end

-- most: the bytes that a tenant's entries may hold.
local function offer_output(id, job, key, output, blobs, most)
  local tenant, member, bytes = job.tenant_id, job.workspace_id .. ':' .. key, blob_bytes(blobs)
  if bytes > most or #output > OUTPUT_BYTES then return end
  -- Counted first: a blob that the entry before has too must not be removed in between.
  count_blobs(tenant, blobs, 1)
  drop_reused(tenant, member)
  local function has_no_room()
    return tonumber(redis.call('HGET', K.usage(tenant), 'reuse_bytes') or '0') + bytes > most or redis.call('ZCARD', K.reuse_used(tenant)) >= REUSED_MOST
  end
  drop_reused_while(tenant, has_no_room)
  if has_no_room() then
    -- So many files would have to go that it takes several scripts: the next output finds more room.
    count_blobs(tenant, blobs, -1)
    return
  end
  local charge = REUSED_BYTES + bytes_of(2 * #member + #output + #blobs)
  redis.call('HSET', K.reuse(tenant), member, table.concat({int(charge), int(bytes), blobs, output}, ' '))
  redis.call('ZADD', K.reuse_used(tenant), int(NOW), member)
  redis.call('HINCRBY', K.usage(tenant), 'reuse_bytes', int(bytes))
  owe(tenant, charge)
  note_reused(id, job, key)
end
