#!lua flags=allow-oom
-- Remove uploads past their time. One that a live job needs or that is being written is looked at again later.
-- KEYS: prefix
-- ARGV: most uploads a call, ms until the next look at one that must stay, admission
-- Returns {how many were looked at, how many were removed}.
local ids = redis.call('ZRANGEBYSCORE', K.uploads(), '-inf', int(NOW), 'LIMIT', 0, tonumber(ARGV[1]))
local removed = 0
for _, id in ipairs(ids) do
  if redis.call('SCARD', K.upload_jobs(id)) > 0 or tonumber(redis.call('HGET', K.upload(id), 'lock_until') or '0') > NOW then
    redis.call('ZADD', K.uploads(), int(NOW + tonumber(ARGV[2])), id)
  elseif drop_upload(id) then
    removed = removed + 1
  end
end
return {#ids, removed}
