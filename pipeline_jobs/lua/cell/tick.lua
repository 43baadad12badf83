#!lua flags=allow-oom
-- Push a tick of maintenance: what makes room on a full server must get through to it. most: ticks that may wait there.
--@keys broker list of the maintenance queue
--@args message most:int
-- Returns 1, or 0 if so many wait already.
if redis.call('LLEN', KEYS[2]) >= most then return 0 end
redis.call('LPUSH', KEYS[2], message)
return 1
