#!lua flags=allow-oom
-- Begin a session of the web page with an API key. A key has at most so many: the oldest gives way, so that signing in fills no memory.
--@args key id kept:ms most:int
-- Returns 1.
local sessions = K.sessions(key)
redis.call('ZADD', sessions, NOW, id)
redis.call('ZREMRANGEBYSCORE', sessions, '-inf', int(NOW - kept))
redis.call('ZREMRANGEBYRANK', sessions, 0, -most - 1)
redis.call('PEXPIRE', sessions, int(kept))
return 1
