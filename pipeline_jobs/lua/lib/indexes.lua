-- Where a job can be found: sorted sets of order->id, written by accept, moved by move, left by remove.
-- There is none of all jobs of a tenant (or of the cell): those are the union of its statuses, which a list merges as it reads.

-- The indexes that hold a job from its acceptance to its removal, whatever becomes of it. `tags` is a JSON list or nil.
local function indexes_of(job, tags)
  local found = {K.workspace(job.tenant_id, job.workspace_id), K.pipeline(job.tenant_id, job.pipeline)}
  if job.batch_id then found[#found + 1] = K.batch_jobs(job.batch_id) end
  if tags then
    for _, tag in ipairs(cjson.decode(tags)) do found[#found + 1] = K.tag(job.tenant_id, tag) end
  end
  return found
end

-- ZADD of a flat list of scores and members of any length: Lua hands over some thousand arguments at once.
local function add_all(key, flat)
  for i = 1, #flat, 4000 do redis.call('ZADD', key, unpack(flat, i, math.min(i + 3999, #flat))) end
end

local function move(id, job, to)
  redis.call('ZREM', K.status(job.status), id)
  redis.call('ZREM', K.tenant_status(job.tenant_id, job.status), id)
  redis.call('ZADD', K.status(to), job.order, id)
  redis.call('ZADD', K.tenant_status(job.tenant_id, to), job.order, id)
  if job.batch_id then count_in_batch(job.batch_id, job.status, to) end
  job.status = to
end

-- Out of every index, for good.
local function unindex(id, job)
  redis.call('ZREM', K.status(job.status), id)
  redis.call('ZREM', K.tenant_status(job.tenant_id, job.status), id)
  for _, key in ipairs(indexes_of(job, redis.call('HGET', K.job(id), 'tags') or nil)) do redis.call('ZREM', key, id) end
  if job.batch_id then leave_batch(job.batch_id) end
end
