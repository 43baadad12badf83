#!lua flags=allow-oom
-- TTL cleanup: remove ended jobs past their time; their artifacts may have a later one. Reads only the index of ended jobs, so its cost is
-- that of the expired ones. One that is not in the history yet is looked at again a minute later (keep: see `must_stay`), one whose
-- workflow has not ended ten minutes later: what it gave may be read by the jobs that depend on it.
--@args limit:int keep:int
--@settings kept
--@reply looked_at removed
-- looked_at: fewer than the limit means there are no more.
-- Whether a run may still read what an ended job of this batch gave: the batch is a workflow that has not ended, or one whose retry has not.
local function is_needed(id)
  local known = redis.call('HMGET', K.batch(id), 'workflow', 'completed_at')
  return known[1] and (not known[2] or live_retries(id) ~= '')
end

local ids, removed = redis.call('ZRANGEBYSCORE', K.ended(), '-inf', int(NOW), 'LIMIT', 0, limit), 0
for _, id in ipairs(ids) do
  local job = load(id)
  if not job then
    redis.call('ZREM', K.ended(), id)
  elseif job.batch_id and is_needed(job.batch_id) then
    redis.call('ZADD', K.ended(), int(NOW + 600000), id)
  elseif must_stay(id, job, keep) then
    redis.call('ZADD', K.ended(), int(NOW + 60000), id)
  else
    remove_job(id, job, true)
    removed = removed + 1
  end
end
return {#ids, removed}
