#!lua flags=allow-oom
-- What was to be told of a job's end has been told. outcome: as which end it was told ('' for any): a row about another one stays.
--@args id outcome?
-- Returns 1, or 0: there is no such row. Sent again it changes nothing.
if outcome ~= '' and redis.call('HGET', K.continuation(id), 'status') ~= outcome then return 0 end
redis.call('ZREM', K.continuations(), id)
return redis.call('DEL', K.continuation(id))
