#!lua
-- Change how many jobs of a pipeline run at once; it acts on the backlog in this very call.
-- KEYS: prefix
-- ARGV: pipeline, most jobs or '' (no such cap), 'cap' (an admin's) | 'own' (what its code declares; an admin's outranks it), admission
-- Returns hints.
local pipeline, most, which = ARGV[1], ARGV[2], ARGV[3]
if most == '' then
  redis.call('HDEL', K.pipelines(), which .. ':' .. pipeline)
else
  redis.call('HSET', K.pipelines(), which .. ':' .. pipeline, most)
end
unblock(pipeline)
return admit()
