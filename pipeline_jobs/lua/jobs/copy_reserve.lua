#!lua
-- A run is about to copy its files elsewhere: charge its tenant, and note their names. Compare-and-set on (id, fence).
-- names: JSON. most: of a tenant without a limit of its own, in bytes.
--@args id fence:digits names bytes:int most:int
-- Returns 'ok' | 'full' (the tenant may not copy so many bytes more) | 'none' (it may not copy any) | 'fenced' (the run has lost the job).
-- An earlier run of the job may have charged for it already. Sent again: the same.
local job = load(id)
if not job or job.status ~= 'running' or job.fence ~= fence then return 'fenced' end
-- The record of a part goes with its end: nobody would know of its copies then.
if job.part_of then return 'none' end
if redis.call('HEXISTS', K.job(id), 'copies') == 1 then return 'ok' end
local used = tonumber(redis.call('HGET', K.usage(job.tenant_id), 'drive_bytes') or '0')
local limit = limits_of(job.tenant_id).max_drive_bytes or most
if used + bytes > limit then return limit > 0 and 'full' or 'none' end
redis.call('HSET', K.job(id), 'copies', names, 'copy_bytes', int(bytes))
redis.call('HINCRBY', K.usage(job.tenant_id), 'drive_bytes', int(bytes))
owe(job.tenant_id, bytes_of(40, {names}), id)
return 'ok'
