#!lua flags=no-writes
-- A page of a job's event log.
--@args id after:int most:int
--@reply status tenant_id workspace_id first last lines*
-- Nothing: there is no such job. first: number of the first line here (later than asked for if the log no longer has the ones before);
-- last: number of the last line in the log.
local job = redis.call('HMGET', K.job(id), 'status', 'tenant_id', 'workspace_id', 'events_cut')
if not job[1] then return {} end
local cut = tonumber(job[4] or '0')
local from = math.max(after - cut, 0)
local lines = redis.call('LRANGE', K.events(id), from, from + most - 1)
return {job[1], job[2], job[3], cut + from + 1, cut + redis.call('LLEN', K.events(id)), unpack(lines)}
