#!lua flags=allow-oom
-- A page of ended jobs that are to be moved into the history: about as many of each of the tenants whose turn it is, which then go to the
-- end of the ring. Until `history_moved` is told of them they are given again. tenants, limit: the most of each.
--@args tenants:int limit:int
--@reply records*
-- A record is field, value, ... None: nothing waits.
local ring, page, bytes = redis.call('ZRANGE', K.unmoved_tenants(), 0, tenants - 1), {}, 0
for _, tenant in ipairs(ring) do
  redis.call('ZADD', K.unmoved_tenants(), int(NOW), tenant)
  for _, id in ipairs(redis.call('ZRANGE', K.unmoved(tenant), 0, math.ceil(limit / #ring) - 1)) do
    local known = redis.call('HMGET', K.job(id), 'tenant_id', 'completed_at', 'order', 'job_id')
    if known[1] ~= tenant or not known[2] or not known[3] or not known[4] then
      -- It was removed, and the id may be another job's by now.
      redis.call('ZREM', K.unmoved(tenant), id)
    elseif bytes < 4194304 then
      -- A result in a record of an earlier release can have 8 MB.
      local record = redis.call('HGETALL', K.job(id))
      for i = 2, #record, 2 do bytes = bytes + #record[i] end
      page[#page + 1] = record
    end
  end
  leave_ring_of_unmoved(tenant)
end
return page
