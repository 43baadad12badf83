#!lua flags=allow-oom
-- Remove ended jobs of tenants that keep too many: those that ended first, before their time; of folders whose job is gone, the oldest.
-- most: the number of each that a tenant without a limit of its own may keep. share: the bytes of memory that a tenant may hold now
-- (negative: any number); of one that holds more, jobs go that were cancelled before they ever started, since nothing is lost with them.
-- Also forgets idle workspaces, and Idempotency-Keys whose day is over. limit: the maximum number to remove.
-- keep: of those that are not in the history yet, see `must_stay`. unused: outputs of stages that no other job has used for so long go.
--@args most:int share:int limit:int keep:int unused:ms tenants:list
--@settings kept
-- Returns how many it removed; fewer than the limit means that nothing is left to be removed.
local WORKSPACES_MOST, removed = 1000, 0

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
    local id, job = found[i][1], load(found[i][1])
    if not must_stay(id, job, keep) then
      remove_job(id, job, true)
      removed = removed + 1
    end
  end
end

-- A tenant's share remembers the clock of each workspace that it ever had. Of very many, those are forgotten that have no job to start:
-- one that comes back begins at its tenant's present, which is nothing to other tenants.
local function forget_workspaces(tenant)
  if redis.call('HLEN', K.share(tenant)) <= WORKSPACES_MOST then return end
  local cursor, idle = '0', {}
  repeat
    local page = redis.call('HSCAN', K.share(tenant), cursor, 'MATCH', 'w:*', 'COUNT', 500)
    cursor = page[1]
    for i = 1, #page[2], 2 do
      local field = page[2][i]
      local pool, workspace = string.match(field, '^w(:?[^:]*):([^:]*)$')
      local before = use_pool(pool)
      if not redis.call('ZSCORE', K.workspaces(tenant), workspace) then idle[#idle + 1] = field end
      use_pool(before)
    end
  until cursor == '0' or #idle >= WORKSPACES_MOST
  if idle[1] then redis.call('HDEL', K.share(tenant), unpack(idle)) end
end

-- The server forgets an Idempotency-Key by itself.
local function give_back_remembered(tenant)
  if worked_enough() then return end
  local over = math.min(redis.call('ZCOUNT', K.remembered(tenant), '-inf', int(NOW)), 5000)
  if over == 0 then return end
  redis.call('ZREMRANGEBYRANK', K.remembered(tenant), 0, over - 1)
  owe(tenant, -REMEMBERED_BYTES * over)
  spend(over / 10)
end

for _, tenant in ipairs(tenants) do
  forget_workspaces(tenant)
  give_back_remembered(tenant)
  removed = removed + drop_reused_while(tenant, function()
    return redis.call('ZCOUNT', K.reuse_used(tenant), '-inf', int(NOW - unused)) > 0
  end)
  local ended = 0
  for _, status in ipairs({'completed', 'failed', 'cancelled'}) do ended = ended + redis.call('ZCARD', K.tenant_status(tenant, status)) end
  -- Versions that know no charges remove records without giving theirs back: at the latest when nothing is left, that is put right.
  local live = redis.call('ZCARD', K.tenant_status(tenant, 'queued')) + redis.call('ZCARD', K.tenant_status(tenant, 'running'))
  local others = 0
  for _, key in ipairs({K.deliveries(tenant), K.tenant_kept(tenant), K.tenant_uploads(tenant), K.remembered(tenant), K.reuse_used(tenant)}) do others = others + redis.call('ZCARD', key) end
  if ended + live + others == 0 then redis.call('HDEL', K.usage(tenant), 'store_bytes') end
  local max_ended = limits_of(tenant).max_ended or most
  local over = math.min(ended - max_ended, limit - removed)
  if over > 0 then remove_oldest(tenant, {'completed', 'failed', 'cancelled'}, over, function() return true end) end
  local kept = math.min(redis.call('ZCARD', K.tenant_kept(tenant)) - max_ended, limit - removed)
  for _, id in ipairs(kept > 0 and redis.call('ZRANGE', K.tenant_kept(tenant), 0, kept - 1) or {}) do
    drop_folder(id)
    removed = removed + 1
  end
  local held = share >= 0 and tonumber(redis.call('HGET', K.usage(tenant), 'store_bytes') or '0') or 0
  if held > share and share >= 0 and removed < limit then
    remove_oldest(tenant, {'cancelled'}, limit - removed, function(known) return not known[2] end)
  end
end
return removed
