#!lua
-- Set a pool's maximum number of concurrent jobs ('': it has none of its own); it applies to the backlog in this very call. pool: '': `default`.
--@args most:digits? pool?
--@settings admits
--@once
--@reply before hints
-- before: the value until now, or '' (it was not set).
use_pool(pool ~= '' and ':' .. pool or '')
local before = redis.call('GET', K.max_concurrent_jobs())
if most == '' then redis.call('DEL', K.max_concurrent_jobs()) else redis.call('SET', K.max_concurrent_jobs(), most) end
return {before or '', admit()}
