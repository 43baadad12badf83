#!lua flags=allow-oom
-- Note that a duty of maintenance ran now.
--@args duty
-- Returns nothing.
redis.call('SET', K.heartbeat(duty), int(NOW))
