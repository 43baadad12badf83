#!lua flags=no-writes
-- A page of a tenant's feed: the events that its jobs' logs have. Those of a job that is gone are gone.
-- KEYS: prefix
-- ARGV: tenant, workspace or '', id after which to begin, most entries to look at
-- Returns {id of the newest entry, number of entries looked at, {id, job, number, workspace, line}, ...}.
local tenant, workspace, after, most = ARGV[1], ARGV[2], ARGV[3], tonumber(ARGV[4])
local newest = redis.call('XREVRANGE', K.feed(tenant), '+', '-', 'COUNT', 1)
local entries = redis.call('XRANGE', K.feed(tenant), '(' .. after, '+', 'COUNT', most)
local page = {newest[1] and newest[1][1] or '0-0', #entries}
for i, entry in ipairs(entries) do
  local id, number = string.match(entry[2][2], '^(.*):(%d+)$')
  local job = redis.call('HMGET', K.job(id), 'tenant_id', 'workspace_id', 'events_cut')
  local at = tonumber(number) - tonumber(job[3] or '0') - 1
  local line = false
  if job[1] == tenant and at >= 0 and (workspace == '' or workspace == job[2]) then line = redis.call('LINDEX', K.events(id), at) end
  -- The last one looked at is told in any case: the next page begins after it.
  if line or i == #entries then page[#page + 1] = {entry[1], id, number, job[2] or '', line or ''} end
end
return page
