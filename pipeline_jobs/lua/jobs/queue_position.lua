#!lua flags=no-writes
-- The position of a queued job, why it waits, and about how long.
--@args id
--@settings admits
--@reply reason position limit current eta pool parts*
-- Nothing: the job does not wait, or its record is damaged. position: this job and those of its tenant that start before it; other tenants count in the estimate
-- only. limit, current, eta (seconds until it should start) may be ''; of a job that waits for its parts the first two are how many there are, and
-- how many have ended. pool: in which it waits ('': `default`). parts: of such a job how many of them run, how many wait for a slot, why ('': none
-- waits), and their pool; of any other nothing.
-- Of its record no more than that depends on: to read all that decisions are made on takes a tenth of this script's time.
local known = redis.call('HMGET', K.job(id), 'status', 'order', 'tenant_id', 'workspace_id', 'pipeline', 'reason', 'pool', 'split')
local status, order, tenant, workspace, pipeline, reason, pool, split = unpack(known)
return place_of(id, {
  status = status, order = order, tenant_id = tenant, workspace_id = workspace, pipeline = pipeline, reason = reason, pool = pool, split = split,
})
