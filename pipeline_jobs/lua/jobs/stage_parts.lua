#!lua
-- Write the inputs of some parts of a job that a run is about to split, before they are parts. first: the number of the first one. inputs: of
-- each, JSON; blobs: what they name in the artifact store, comma separated.
--@args id fence:digits first:int blobs? inputs:list
-- Returns 1, or 0: the run has lost the job. Sent again: the same.
local job = load(id)
if not job or job.status ~= 'running' or job.fence ~= fence then return 0 end
local split = id .. '~' .. fence
if job.split and string.match(job.split, '^%d+') ~= fence then retire_split(id, job) end
local known = tonumber(redis.call('HGET', K.parts(split), 'n') or '0')
if known > first then return 1 end
local bytes = first == 0 and 500 or 0
for i, input in ipairs(inputs) do
  redis.call('HSET', K.parts(split), 'i:' .. int(first + i - 1), input)
  bytes = bytes + bytes_of(#input + 60)
end
if blobs ~= '' then
  count_blobs(job.tenant_id, blobs, 1)
  redis.call('RPUSH', K.parts_blobs(split), blobs)
end
redis.call('HSET', K.parts(split), 'n', int(first + #inputs))
redis.call('HINCRBY', K.parts(split), 'store_bytes', int(bytes))
owe(job.tenant_id, bytes)
redis.call('HSET', K.job(id), 'split', fence)
return 1
