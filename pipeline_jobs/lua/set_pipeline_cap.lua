#!lua
-- Change how many jobs of a pipeline run at once; it acts on the backlog in this very call.
-- KEYS: prefix
-- ARGV: pipeline, most jobs or '' (no cap), admission
-- Returns hints.
local pipeline, cap = ARGV[1], ARGV[2]
if cap == '' then
  redis.call('HDEL', K.pipelines(), 'cap:' .. pipeline)
else
  redis.call('HSET', K.pipelines(), 'cap:' .. pipeline, cap)
end
unblock(pipeline)
return admit()
