#!lua flags=allow-oom
-- A run has come to a wait for a signal: the job gives its slot back and is parked until the signal comes, the time of the wait is over, or
-- something ends the job. If the signal is there already, it goes on. timeout: how long it waits; none: for any time. otherwise: what the end
-- of that time does, 'fail' or 'go_on'. message: what is told to whoever looks at the job. pool: in which it goes on ('': `default`).
--@args id fence:digits name timeout:ms? otherwise message pool?
--@settings events admits names kept parks
--@once
--@reply status hints
-- status: 'queued', or 'failed' | 'cancelled' (a cancel was requested or the deadline has passed, or the time of the wait, which began in an
-- earlier run), 'full' (the tenant has as many parked jobs as it may; nothing is changed), 'fenced' (the run has lost the job).
local job = load(id)
if not job then return {'fenced', {}} end
if job.status ~= 'running' or job.fence ~= fence then
  discard(id, job, fence)
  return {'fenced', {}}
end
-- The run itself learns what became of its job.
job.told_by_run = true
if job.cancel_requested or job.deadline_passed then
  discard(id, job, fence)
  return {stopped(id, job), settle_and_admit()}
end
local there = signal_of(id, name)
local most = limits_of(job.tenant_id).max_parked or PARKS_MOST
if not there and redis.call('ZCARD', K.tenant_awaiting(job.tenant_id)) >= most and not redis.call('ZSCORE', K.tenant_awaiting(job.tenant_id), id) then
  return {'full', {}}
end
-- A worker of the version before may have woken it (it knows of no parked jobs): the wait is the same one.
local known = redis.call('HMGET', K.job(id), 'awaits', 'awaits_since', 'awaits_until', 'schema')
local again = known[1] == name
local since, till = again and known[2] or int(NOW), timeout and int(NOW + timeout)
if again then till = known[3] end
-- Workers that know of no waits must not run it without: they refuse this schema.
local schema = math.max(tonumber(FOR_WAITS), tonumber(known[4] or '1'))
redis.call('HSET', K.job(id), 'schema', int(schema), 'awaits', name, 'awaits_since', since, 'awaits_or', otherwise, 'message', message)
if till then redis.call('HSET', K.job(id), 'awaits_until', till) end
redis.call('ZADD', K.awaiting(), since, id)
redis.call('ZADD', K.tenant_awaiting(job.tenant_id), since, id)
if job.split then retire_split(id, job) end
redis.call('HINCRBY', K.job(id), 'segments_ms', int(used_ms(job)))
local number = back_to_queue(id, job, 'signal', math.max(1, (till or FOR_GOOD) - NOW), 'signal', message, pool)
job.reason = 'signal'
if there then
  unpark(id, job)
elseif till and tonumber(till) <= NOW then
  wait_is_over(id, job)
else
  outbox({
    type = 'job.waiting', tenant = job.tenant_id, workspace = job.workspace_id, subject = id, seed = table.concat({job.order, id, fence}, '|'),
    source = K.job(id), bytes = math.max(0, (job.store_bytes or 0) - 600), own = job.webhook, fields = {'webhook_seq', int(number)},
  })
end
return {job.status, settle_and_admit()}
