#!lua flags=allow-oom
-- Take rows of job ends that Celery has not been told of: the caller has them for ten seconds, then they can be taken again.
--@args limit:int
-- Returns the names of the rows: the ids of the jobs, or `id@fence` (see note_continuation).
local ids = redis.call('ZRANGEBYSCORE', K.continuations(), '-inf', int(NOW), 'LIMIT', 0, limit)
-- No row waits for more than ten seconds: what is later than that has a time from before the clock was set back.
local before = redis.call('ZRANGEBYSCORE', K.continuations(), '(' .. int(NOW + TELL_MS), '+inf', 'LIMIT', 0, limit - #ids)
for _, id in ipairs(before) do ids[#ids + 1] = id end
for _, id in ipairs(ids) do redis.call('ZADD', K.continuations(), int(NOW + TELL_MS), id) end
return ids
