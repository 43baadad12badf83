#!lua flags=no-writes
-- A page of a job's event log.
--@args id after:int most:int
--@reply status tenant_id workspace_id first last lines*
-- Nothing: there is no such job. first: number of the first line here (later than asked for if the log no longer has the ones before);
-- last: number of the last line in the log.
local job = redis.call('HMGET', K.job(id), 'status', 'tenant_id', 'workspace_id', 'events_cut', 'created_at')
if not job[1] then return {} end
local cut = tonumber(job[4] or '0')
local last = cut + redis.call('LLEN', K.events(id))
if cut == 1 and after < 1 then
  local lines = most > 1 and redis.call('LRANGE', K.events(id), 0, most - 2) or {}
  return {job[1], job[2], job[3], 1, last, created_line(job[5] or '0'), unpack(lines)}
end
local from = math.max(after - cut, 0)
local lines = redis.call('LRANGE', K.events(id), from, from + most - 1)
return {job[1], job[2], job[3], cut + from + 1, last, unpack(lines)}
