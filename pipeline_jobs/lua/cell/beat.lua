#!lua flags=allow-oom
-- Note that a duty of maintenance ran now.
-- KEYS: prefix
-- ARGV: duty, admission
-- Returns nothing.
redis.call('SET', K.heartbeat(ARGV[1]), int(NOW))
