#!lua
-- Use for a stage what another job of the same tenant and workspace was given by it. key: of the stage and all that it is given. outputs,
-- blobs: those of the stages before, as the record has them. The output is put behind them in the record, in the same step: so its files
-- stay, whatever becomes of the entry.
--@args id fence:digits stage key outputs blobs?
-- Returns the output, as the record has it, or '': there is none, or the run has lost the job. Sent again: the same.
local job = load(id)
if not job or job.status ~= 'running' or job.fence ~= fence then return '' end
local member = job.workspace_id .. ':' .. key
local row = redis.call('HGET', K.reuse(job.tenant_id), member)
if not row then return '' end
local held, output = string.match(row, '^%d+ %d+ (%S*) (.*)$')
redis.call('ZADD', K.reuse_used(job.tenant_id), int(NOW), member)
local all = outputs == '' and '[' .. output .. ']' or string.sub(outputs, 1, -2) .. ',' .. output .. ']'
set_outputs(id, job, all, table.concat({blobs, held}, blobs ~= '' and held ~= '' and ',' or ''))
note_reused(id, job, key)
local cached = redis.call('HGET', K.job(id), 'cached')
if not (cached and string.find(',' .. cached .. ',', ',' .. stage .. ',', 1, true)) then
  redis.call('HSET', K.job(id), 'cached', cached and cached .. ',' .. stage or stage)
end
return output
