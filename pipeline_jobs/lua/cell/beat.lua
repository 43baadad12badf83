#!lua flags=allow-oom
-- Record that a maintenance duty ran now.
--@args duty
-- Returns nothing.
redis.call('SET', K.heartbeat(duty), int(NOW))
