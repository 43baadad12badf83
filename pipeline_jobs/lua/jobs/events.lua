#!lua flags=no-writes
-- A page of a job's event log.
-- KEYS: prefix
-- ARGV: id, number after which to begin, most events
-- Returns {} (there is no such job) | {status, tenant, workspace, number of the first line here, number of the last in the log, line, ...}.
-- The first here is later than asked for when the log has lost so many.
local id, after, most = ARGV[1], tonumber(ARGV[2]), tonumber(ARGV[3])
local job = redis.call('HMGET', K.job(id), 'status', 'tenant_id', 'workspace_id', 'events_cut')
if not job[1] then return {} end
local cut = tonumber(job[4] or '0')
local from = math.max(after - cut, 0)
local lines = redis.call('LRANGE', K.events(id), from, from + most - 1)
return {job[1], job[2], job[3], cut + from + 1, cut + redis.call('LLEN', K.events(id)), unpack(lines)}
