#!lua flags=allow-oom
-- Record the outputs that a run's stages have given so far. outputs: JSON.
--@args id fence:digits outputs blobs?
-- Returns 1, or 0: the run has lost the job. Sent again: the same.
local job = load(id)
if not job or job.status ~= 'running' or job.fence ~= fence then return 0 end
set_outputs(id, job, outputs, blobs)
return 1
