#!lua
-- Set the installation's maximum number of concurrent jobs; it applies to the backlog in this very call.
--@args most:digits
--@settings admits
--@once
--@reply before hints
-- before: the value until now, or '' (it was not set).
local before = redis.call('GET', K.max_concurrent_jobs())
redis.call('SET', K.max_concurrent_jobs(), most)
return {before or '', admit()}
