#!lua flags=allow-oom
-- Celery has been told of a job's end: remove the row, and the files of the job if its record is gone. outcome: the status that was told ('' for any); a row about another one stays. fence: of the run that ended the job, as the row has it ('': a row of the release before has none).
--@args id outcome? fence?
-- Returns 1, or 0: there is no such row. Sent again it changes nothing.
local key, name = K.continuation(id), id
if (redis.call('HGET', key, 'fence') or '') ~= fence then key, name = K.later_continuation(id, fence), id .. '@' .. fence end
local known = redis.call('HMGET', key, 'status', 'folder')
if outcome ~= '' and known[1] ~= outcome then return 0 end
if known[2] then redis.call('RPUSH', K.trash(), known[2]) end
redis.call('ZREM', K.continuations(), name)
return redis.call('DEL', key)
