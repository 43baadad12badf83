#!lua
-- Add lines to a job's log: pieces of text, each some lines of JSON that begin with their numbers. last: the number of the last line that
-- they speak for. file: of the run's whole log, `{first}:{last}:{sha256}-{bytes}`.
-- A part of a job counts its own lines. In its job's log they follow those that are there, whichever part has said them.
-- A log is the first to give way: a full server takes none.
--@args id fence:digits last:int file? pieces:list
-- Returns 1, or 0: the run has lost the job, or its split is over. Sent again: the same, since numbers only rise.
local job = load(id)
if not job or job.status ~= 'running' or job.fence ~= fence then return 0 end
local known = redis.call('HGET', K.job(id), 'log_lines')
if job.part_of then
  local whole, attempt = unpack(redis.call('HMGET', K.job(job.part_of), 'log_lines', 'attempt'))
  if redis.call('HEXISTS', K.parts(string.match(id, '^(.+)%.')), 'left') == 0 then return 0 end
  local own = tonumber(known or '0')
  if last <= own then return 1 end
  redis.call('HSET', K.job(id), 'log_lines', int(last))
  local more = tonumber(whole or '0') - own
  for i, piece in ipairs(pieces) do
    local numbered = string.gsub('\n' .. piece, '\n%[(%d+),(%d+),%d+,', function(number, time)
      return '\n[' .. int(number + more) .. ',' .. time .. ',' .. (attempt or '1') .. ','
    end)
    pieces[i] = string.sub(numbered, 2)
  end
  id, known, last = job.part_of, whole, last + more
end
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
