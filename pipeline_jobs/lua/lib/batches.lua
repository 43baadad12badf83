-- A batch: jobs that came in one call. Its counts are those of its jobs' statuses. A job that was removed still counts under the status
-- in which it ended.

local function count_in_batch(id, from, to)
  redis.call('HINCRBY', K.batch(id), from, -1)
  redis.call('HINCRBY', K.batch(id), to, 1)
end

-- Called after a job of the batch has ended. That the last one has is reported once, in the tenant's feed (its content is in the batch's
-- record, see feed.lua) and to webhooks.
local function end_of_batch(id)
  local left = redis.call('HMGET', K.batch(id), 'queued', 'running')
  if tonumber(left[1] or '0') + tonumber(left[2] or '0') > 0 then return end
  if redis.call('HSETNX', K.batch(id), 'completed_at', int(NOW)) == 0 then return end
  local whose = redis.call('HMGET', K.batch(id), 'tenant_id', 'workspace_id', 'order', 'store_bytes')
  if FEED_MOST > 0 then redis.call('XADD', K.feed(whose[1]), 'MAXLEN', '~', FEED_MOST, '*', 'b', id .. ':1') end
  redis.call('PUBLISH', K.news(whose[1]), id)
  outbox({
    type = 'batch.completed', tenant = whose[1], workspace = whose[2], subject = id, seed = whose[3] .. '|' .. id, source = K.batch(id),
    bytes = whose[4],
  })
end

-- The indexes that a batch is in: all batches, those of its tenant, those of its workspace; and the same of workflows, if it is one.
local function lists_of_batch(tenant, workspace, workflow)
  local keys = {K.batches('*', '*'), K.batches(tenant, '*'), K.batches(tenant, workspace)}
  if workflow then
    for _, key in ipairs({K.workflows('*', '*'), K.workflows(tenant, '*'), K.workflows(tenant, workspace)}) do keys[#keys + 1] = key end
  end
  return keys
end

-- Called after the record of a job of the batch was removed: the batch goes with its last job.
local function leave_batch(id)
  if redis.call('EXISTS', K.batch_jobs(id)) == 1 then return end
  local whose = redis.call('HMGET', K.batch(id), 'tenant_id', 'workspace_id', 'store_bytes', 'workflow')
  if not whose[1] then return end
  for _, key in ipairs(lists_of_batch(whose[1], whose[2], whose[4])) do redis.call('ZREM', key, id) end
  redis.call('DEL', K.batch(id))
  owe(whose[1], -(whose[3] or 0))
end

-- The retries of a workflow that have not ended, each with a comma before it, the newest first: they read what its jobs gave. Of very many at
-- once the oldest are not known any more: this is asked for each job that might be purged.
local function live_retries(id)
  local live, most = '', 20
  for retry in string.gmatch(redis.call('HGET', K.batch(id), 'needed_by') or '', '[^,]+') do
    local known = redis.call('HMGET', K.batch(retry), 'tenant_id', 'completed_at')
    if known[1] and not known[2] then live, most = live .. ',' .. retry, most - 1 end
    if most == 0 then break end
  end
  return live
end
