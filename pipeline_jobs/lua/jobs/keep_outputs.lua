#!lua flags=allow-oom
-- A run notes what its stages have given so far.
-- KEYS: prefix
-- ARGV: id, fence, outputs JSON, blobs, admission
-- Returns 1, or 0: this run has no say any more. Sent again: the same.
local id, fence = ARGV[1], ARGV[2]
local job = load(id)
if not job or job.status ~= 'running' or job.fence ~= fence then return 0 end
set_outputs(id, job, ARGV[3], ARGV[4])
return 1
