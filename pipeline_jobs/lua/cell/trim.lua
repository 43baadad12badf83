#!lua flags=allow-oom
-- Remove ended jobs of tenants that keep too many: those that ended first, before their time. most: the number that a tenant without a
-- limit of its own may keep. share: the bytes of memory that a tenant may hold now (negative: any number); of one that holds more, jobs go
-- that were cancelled before they ever started, since nothing is lost with them. limit: the maximum number of jobs to remove.
--@args most:int share:int limit:int tenants:list
-- Returns how many it removed; fewer than the limit means that nothing is left to be removed.
local removed = 0

-- Removes the first of the oldest jobs in these statuses. The indexes have the order in which jobs came, and a job that ran for hours is
-- among the oldest when it has just ended: so some are looked at, and those that ended first go.
local function remove_oldest(tenant, statuses, n, suits)
  local found = {}
  for _, status in ipairs(statuses) do
    for _, id in ipairs(redis.call('ZRANGE', K.tenant_status(tenant, status), 0, 2 * n)) do
      local known = redis.call('HMGET', K.job(id), 'completed_at', 'started_at')
      if known[1] and suits(known) then found[#found + 1] = {id, tonumber(known[1])} end
    end
  end
  table.sort(found, function(a, b) return a[2] < b[2] end)
  for i = 1, math.min(n, #found) do
    remove(found[i][1], load(found[i][1]))
    removed = removed + 1
  end
end

for _, tenant in ipairs(tenants) do
  local ended = 0
  for _, status in ipairs({'completed', 'failed', 'cancelled'}) do ended = ended + redis.call('ZCARD', K.tenant_status(tenant, status)) end
  local over = math.min(ended - (limits_of(tenant).max_ended or most), limit - removed)
  if over > 0 then remove_oldest(tenant, {'completed', 'failed', 'cancelled'}, over, function() return true end) end
  local held = share >= 0 and tonumber(redis.call('HGET', K.usage(tenant), 'store_bytes') or '0') or 0
  if held > share and share >= 0 and removed < limit then
    remove_oldest(tenant, {'cancelled'}, limit - removed, function(known) return not known[2] end)
  end
end
return removed
