#!lua
-- Add lines to a job's log: pieces of text, each some lines of JSON that begin with their numbers. last: the number of the last line that
-- they speak for. file: of the run's whole log, `{first}:{last}:{sha256}-{bytes}`.
-- A log is the first to give way: a full server takes none.
--@args id fence:digits last:int file? pieces:list
-- Returns 1, or 0: the run has lost the job, or is a part's. Sent again: the same, since numbers only rise.
local job = load(id)
if not job or job.status ~= 'running' or job.fence ~= fence or job.part_of then return 0 end
local known = redis.call('HGET', K.job(id), 'log_lines')
-- What an old worker's purge has left of an earlier job with this id.
if not known then redis.call('DEL', K.logs(id)) end
if last > tonumber(known or '0') then
  redis.call('HSET', K.job(id), 'log_lines', int(last))
  local bytes = append_pieces(id, pieces)
  if bytes ~= 0 then
    redis.call('HINCRBY', K.job(id), 'log_bytes', int(bytes))
    owe(job.tenant_id, bytes, id)
  end
  redis.call('PUBLISH', K.news(job.tenant_id), 'log:' .. id)
end
if file ~= '' then name_log_file(id, job.tenant_id, file) end
return 1
