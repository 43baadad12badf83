#!lua flags=allow-oom
-- End a session of the web page, on a full server too.
--@args key id
-- Returns 1, also for one that has ended.
redis.call('ZREM', K.sessions(key), id)
return 1
