-- Where a job can be found: sorted sets of order->id, written by accept, changed by move, left by remove. There is no set of all jobs of
-- a tenant (or of the cell): a list merges those of its statuses as it reads.

-- ZADD of a flat list of scores and members of any length: Lua can pass only a few thousand arguments at once.
local function add_all(key, flat)
  if #flat <= 4000 and flat[1] then return redis.call('ZADD', key, unpack(flat)) end
  for i = 1, #flat, 4000 do redis.call('ZADD', key, unpack(flat, i, math.min(i + 3999, #flat))) end
end

-- The number of tags of the jobs of a call that are written at once. The other jobs wait in `untagged` for a maintenance duty, or for the
-- process that sent them (batches.py): a thousand jobs with twenty tags each would hold the server for longer than the rest of the batch.
local TAGS_AT_ONCE = 200

-- For maintenance duties. It does up to half of the work of a script, so that neither this nor the rest of the duty waits for the other.
local function index_tags()
  while spent.commands < WORK_MOST / 2 do
    local id = redis.call('LPOP', K.untagged())
    if not id then return end
    -- Nothing is read if the job was removed meanwhile.
    local known = redis.call('HMGET', K.job(id), 'tenant_id', 'order', 'tags')
    local tags = known[3] and cjson.decode(known[3]) or {}
    for _, tag in ipairs(tags) do redis.call('ZADD', K.tag(known[1], tag), known[2], id) end
    spend(2 + #tags)
  end
end

local function move(id, job, to)
  if job.part_of then
    -- Of parts there is known which ones wait for a slot, and of a tenant which ones run: no list has them.
    redis.call('ZREM', K.status('part_queued'), id)
    redis.call('ZREM', K.tenant_status(job.tenant_id, 'part_running'), id)
    if to == 'queued' then redis.call('ZADD', K.status('part_queued'), job.order, id) end
    if to == 'running' then redis.call('ZADD', K.tenant_status(job.tenant_id, 'part_running'), job.order, id) end
    job.status = to
    return
  end
  redis.call('ZREM', K.status(job.status), id)
  redis.call('ZREM', K.tenant_status(job.tenant_id, job.status), id)
  redis.call('ZADD', K.status(to), job.order, id)
  redis.call('ZADD', K.tenant_status(job.tenant_id, to), job.order, id)
  if job.batch_id then count_in_batch(job.batch_id, job.status, to) end
  job.status = to
end

-- Removes a job from every index and count, for good.
local function unindex(id, job)
  redis.call('ZREM', K.status(job.status), id)
  redis.call('ZREM', K.tenant_status(job.tenant_id, job.status), id)
  redis.call('ZREM', K.workspace(job.tenant_id, job.workspace_id), id)
  redis.call('ZREM', K.pipeline(job.tenant_id, job.pipeline), id)
  local more = redis.call('HMGET', K.job(id), 'tags', 'blobs', 'log_files')
  if more[1] then
    for _, tag in ipairs(cjson.decode(more[1])) do redis.call('ZREM', K.tag(job.tenant_id, tag), id) end
  end
  if more[2] then count_blobs(job.tenant_id, more[2], -1) end
  for file in string.gmatch(more[3] or '', '[^,:]+%-%d+') do count_blobs(job.tenant_id, file, -1) end
  if job.batch_id then
    redis.call('ZREM', K.batch_jobs(job.batch_id), id)
    leave_batch(job.batch_id)
  end
end
