#!lua
-- Change the maximum number of concurrent jobs of a pipeline; it applies to the backlog in this very call. most: none removes the cap.
-- which: 'cap' (an admin's) | 'own' (declared in the pipeline's code; an admin's takes precedence).
--@args pipeline most:digits? which
--@settings admits
--@reply hints
if most == '' then
  redis.call('HDEL', K.pipelines(), which .. ':' .. pipeline)
else
  redis.call('HSET', K.pipelines(), which .. ':' .. pipeline, most)
end
in_each_pool(function() unblock(pipeline) end)
return {admit()}
