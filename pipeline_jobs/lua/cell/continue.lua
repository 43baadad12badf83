#!lua flags=allow-oom
-- Take rows of job ends that Celery has not been told of: the caller has them for ten seconds, then they can be taken again.
--@args limit:int
-- Returns the ids of the jobs.
local ids = redis.call('ZRANGEBYSCORE', K.continuations(), '-inf', int(NOW), 'LIMIT', 0, limit)
for _, id in ipairs(ids) do redis.call('ZADD', K.continuations(), int(NOW + TELL_MS), id) end
return ids
