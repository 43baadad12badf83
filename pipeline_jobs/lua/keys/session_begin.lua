#!lua flags=allow-oom
-- Begin a session of the web page with an API key. A key has at most so many: the oldest gives way, so that signing in fills no memory.
--@args key id kept:ms most:int
-- Returns 1.
redis.call('ZADD', K.sessions(key), NOW, id)
redis.call('ZREMRANGEBYSCORE', K.sessions(key), '-inf', int(NOW - kept))
redis.call('ZREMRANGEBYRANK', K.sessions(key), 0, -most - 1)
redis.call('PEXPIRE', K.sessions(key), int(kept))
return 1
