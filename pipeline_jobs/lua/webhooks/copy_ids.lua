#!lua
-- Note the ids under which the files of a job are copied: of its run (id, fence), or of the event of its end, where the run could draw none.
-- ids: JSON, name -> id.
--@args event_id? id fence:digits ids
-- Returns the ones that were noted first | '': the run has lost the job, or the event is gone. Sent again: the same.
local key = K.job(id)
if event_id ~= '' then
  key = K.webhook_event(event_id)
  if redis.call('EXISTS', key) == 0 then return '' end
else
  local job = load(id)
  if not job or job.status ~= 'running' or job.fence ~= fence then return '' end
  if redis.call('HEXISTS', key, 'copies_drawn') == 0 then owe(job.tenant_id, bytes_of(20, {ids}), id) end
end
redis.call('HSETNX', key, 'copies_drawn', ids)
return redis.call('HGET', key, 'copies_drawn')
