#!lua
-- The files of a stage's output are in the artifact store by now. If the run has lost its job meanwhile (it was cancelled, or its tenant is
-- erased), those that no record names are to be removed: nobody else knows of them.
-- key ('': none): from now on other jobs of the workspace use the output (JSON, as the record has it) for what has this key. most: the
-- maximum size of what a tenant keeps for that, in bytes. A full server takes none.
--@args id fence:digits tenant blobs key? output? most:int
-- Returns 1, or 0: the run has lost the job. Sent again: the same.
local job = load(id)
if not job or job.status ~= 'running' or job.fence ~= fence then
  for blob in string.gmatch(blobs, '[^,]+') do
    if redis.call('HEXISTS', K.outputs(tenant), blob) == 0 then redis.call('RPUSH', K.trash(), tenant .. '/_outputs/' .. blob) end
  end
  return 0
end
if key ~= '' then offer_output(id, job, key, output, blobs, most) end
return 1
