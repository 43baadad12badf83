-- A batch: jobs that came in one call. Its counts are those of its jobs' statuses. A job that was removed still counts under the status
-- in which it ended.

-- The last job of a batch has ended. This is reported once, in the tenant's feed (its content is in the batch's record, see feed.lua) and
-- to webhooks.
local function batch_completed(id)
  local whose = redis.call('HMGET', K.batch(id), 'tenant_id', 'workspace_id', 'order', 'store_bytes')
  if FEED_MOST > 0 then redis.call('XADD', K.feed(whose[1]), 'MAXLEN', '~', FEED_MOST, '*', 'b', id .. ':1') end
  redis.call('PUBLISH', K.news(whose[1]), id)
  outbox({
    type = 'batch.completed', tenant = whose[1], workspace = whose[2], subject = id, seed = whose[3] .. '|' .. id, source = K.batch(id),
    bytes = whose[4],
  })
end

local function count_in_batch(id, from, to)
  redis.call('HINCRBY', K.batch(id), from, -1)
  redis.call('HINCRBY', K.batch(id), to, 1)
end

-- Called after a job of the batch has ended.
local function end_of_batch(id)
  local left = redis.call('HMGET', K.batch(id), 'queued', 'running')
  if tonumber(left[1] or '0') + tonumber(left[2] or '0') > 0 then return end
  if redis.call('HSETNX', K.batch(id), 'completed_at', int(NOW)) == 1 then batch_completed(id) end
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

-- Whether a run may still read what an ended job of this batch gave: the batch is a workflow that has not ended, or one whose retry has not.
local function is_needed(id)
  local known = redis.call('HMGET', K.batch(id), 'workflow', 'completed_at', 'needed_by')
  if known[1] and not known[2] then return true end
  local retry = known[3] and redis.call('HMGET', K.batch(known[3]), 'tenant_id', 'completed_at')
  return retry and retry[1] and not retry[2]
end
