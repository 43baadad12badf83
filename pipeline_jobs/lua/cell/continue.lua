#!lua flags=allow-oom
-- Take the rows about ends that nobody has told: for ten seconds they are the caller's; then they come again.
--@args limit:int
-- Returns the ids of the jobs.
local ids = redis.call('ZRANGEBYSCORE', K.continuations(), '-inf', int(NOW), 'LIMIT', 0, limit)
for _, id in ipairs(ids) do redis.call('ZADD', K.continuations(), int(NOW + TELL_MS), id) end
return ids
