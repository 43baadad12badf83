#!lua
-- Set a pool's maximum number of concurrent jobs; it applies to the backlog in this very call. pool: '': `default`.
--@args most:digits pool?
--@settings admits
--@once
--@reply before hints
-- before: the value until now, or '' (it was not set).
use_pool(pool ~= '' and ':' .. pool or '')
local before = redis.call('GET', K.max_concurrent_jobs())
redis.call('SET', K.max_concurrent_jobs(), most)
return {before or '', admit()}
