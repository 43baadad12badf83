#!lua
-- Record that an API key was used. A key that was erased meanwhile is not brought back as half a record.
--@args id now:digits
-- Returns nothing.
if redis.call('EXISTS', K.api_key(id)) == 1 then redis.call('HSET', K.api_key(id), 'last_used_at', now) end
