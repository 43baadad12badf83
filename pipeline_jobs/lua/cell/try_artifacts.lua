#!lua flags=allow-oom
-- A process asks whether it is the one of the installation that tries the artifact store by a write; for `life` ms from now it is. Another
-- takes its place when it has not asked again, or has left.
--@args process life:int
-- Returns 1: it is; 0: another one is.
local by = redis.call('GET', K.artifacts_tried_by())
if by and by ~= process and redis.call('HEXISTS', K.processes(), by) == 1 then return 0 end
redis.call('SET', K.artifacts_tried_by(), process, 'PX', life)
return 1
