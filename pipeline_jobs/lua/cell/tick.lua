#!lua flags=allow-oom
-- Push a tick of maintenance: what makes room on a full server must get through to it.
-- KEYS: prefix, broker list of the maintenance queue
-- ARGV: message, most ticks that may wait there, admission
-- Returns 1, or 0 if so many wait already.
if redis.call('LLEN', KEYS[2]) >= tonumber(ARGV[2]) then return 0 end
redis.call('LPUSH', KEYS[2], ARGV[1])
return 1
