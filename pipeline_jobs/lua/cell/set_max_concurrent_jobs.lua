#!lua
-- Set the installation's cap; it acts on the backlog in this very call.
--@args most:digits
--@settings admits
--@once
--@reply before hints
-- before: what it was, or '' (nobody had set it).
local before = redis.call('GET', K.max_concurrent_jobs())
redis.call('SET', K.max_concurrent_jobs(), most)
return {before or '', admit()}
