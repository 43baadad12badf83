#!lua flags=no-writes
-- The pieces of a job's log that have lines after a number.
--@args id after:int
--@reply status tenant_id workspace_id last files pieces*
-- Nothing: there is no such job. last: the number of the last line that was sent; files: of whole logs of its runs, comma separated.
local job = redis.call('HMGET', K.job(id), 'status', 'tenant_id', 'workspace_id', 'log_lines', 'log_files')
if not job[1] then return {} end
local last, found = tonumber(job[4] or '0'), {}
local pieces = last > after and redis.call('LRANGE', K.logs(id), 0, -1) or {}
-- A piece ends where the next one begins.
for i = 1, #pieces do
  local following = pieces[i + 1] and tonumber(string.match(pieces[i + 1], '^%[(%d+)'))
  if not following or following > after + 1 then found[#found + 1] = pieces[i] end
end
return {job[1], job[2], job[3], int(last), job[5] or '', unpack(found)}
