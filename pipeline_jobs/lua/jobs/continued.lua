#!lua flags=allow-oom
-- Celery has been told of a job's end: remove the row, and the files of the job if its record is gone. outcome: the status that was told ('' for any); a row about another one stays.
--@args id outcome?
-- Returns 1, or 0: there is no such row. Sent again it changes nothing.
if outcome ~= '' and redis.call('HGET', K.continuation(id), 'status') ~= outcome then return 0 end
local folder = redis.call('HGET', K.continuation(id), 'folder')
if folder then redis.call('RPUSH', K.trash(), folder) end
redis.call('ZREM', K.continuations(), id)
return redis.call('DEL', K.continuation(id))
