#!lua flags=allow-oom
-- These jobs are in the history: now they may be purged. orders: an id may be another job's by now, which is not in the history.
-- refused: they never will be, for they cannot be read, or its database does not take them.
--@args refused:flag orders:pairs
-- Returns how many were not known to be.
local moved = 0
for i = 1, #orders, 2 do
  local id = orders[i]
  local known = redis.call('HMGET', K.job(id), 'order', 'tenant_id', 'moved')
  if known[1] == orders[i + 1] then
    redis.call('ZREM', K.unmoved(known[2]), id)
    leave_ring_of_unmoved(known[2])
    if not known[3] then
      redis.call('HSET', K.job(id), 'moved', '1')
      moved = moved + 1
    end
  end
end
if refused then count_by(moved, 'history_lost') elseif moved > 0 then count_by(moved, 'history_moved') end
return moved
