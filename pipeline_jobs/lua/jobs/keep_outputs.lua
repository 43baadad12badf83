#!lua flags=allow-oom
-- A run notes what its stages have given so far. outputs: JSON.
--@args id fence:digits outputs blobs?
-- Returns 1, or 0: this run has no say any more. Sent again: the same.
local job = load(id)
if not job or job.status ~= 'running' or job.fence ~= fence then return 0 end
set_outputs(id, job, outputs, blobs)
return 1
