#!lua
-- Change how many jobs of a pipeline run at once; it acts on the backlog in this very call. most: none, if there is to be no such cap.
-- which: 'cap' (an admin's) | 'own' (what its code declares; an admin's outranks it).
--@args pipeline most:digits? which
--@settings admits
--@reply hints
if most == '' then
  redis.call('HDEL', K.pipelines(), which .. ':' .. pipeline)
else
  redis.call('HSET', K.pipelines(), which .. ':' .. pipeline, most)
end
unblock(pipeline)
return {admit()}
