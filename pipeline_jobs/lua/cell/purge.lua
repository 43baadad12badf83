#!lua flags=allow-oom
-- TTL cleanup: remove ended jobs past their time; their artifacts may have a later one. Reads only the index of ended jobs, so its cost is that of the expired ones.
--@args limit:int
-- Returns how many it removed; fewer than the limit means there are no more.
local ids = redis.call('ZRANGEBYSCORE', K.ended(), '-inf', int(NOW), 'LIMIT', 0, limit)
for _, id in ipairs(ids) do
  local job = load(id)
  if job then remove_job(id, job, true) else redis.call('ZREM', K.ended(), id) end
end
return #ids
