#!lua flags=allow-oom
-- Push the message of a maintenance task: on a full server, what makes room must get through. most: the maximum number of such messages
-- that wait.
--@keys broker list of the maintenance queue
--@args message most:int
-- Returns 1, or 0 if that many wait already.
if redis.call('LLEN', KEYS[2]) >= most then return 0 end
redis.call('LPUSH', KEYS[2], message)
return 1
