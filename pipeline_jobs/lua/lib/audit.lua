-- The audit log: capped streams that are read as one. Each tenant has two of its own and the installation (`*`) has two, one for security
-- and one for the daily work, so that no number of rows of one pushes out those of another. (`~`: the server trims whole blocks, which
-- costs nothing.)

-- The number of rows that each stream keeps, approximately: of the installation, and of a tenant.
local AUDIT_ROWS, AUDIT_WORK_ROWS, AUDIT_TENANT_ROWS, AUDIT_TENANT_WORK_ROWS = 50000, 10000, 10000, 2000

-- The stream of a class (`security`, `work`), and how many rows it keeps. Those of the installation have the names that the versions before
-- gave to all rows, so that their rows are read on.
local function audit_stream(class, tenant)
  if tenant ~= '*' then return K.tenant_audit(class, tenant), class == 'work' and AUDIT_TENANT_WORK_ROWS or AUDIT_TENANT_ROWS end
  if class == 'work' then return K.audit_work(), AUDIT_WORK_ROWS end
  return K.audit(), AUDIT_ROWS
end

-- Returns an id that is later than any in any stream: all have one order, and one id serves as the cursor. A process of the version before
-- writes the installation's streams without noting the id.
local function next_audit_id()
  local ids, ms, n = {redis.call('GET', K.audit_last()) or nil}, NOW, 0
  for _, key in ipairs({K.audit(), K.audit_work()}) do
    for _, top in ipairs(redis.call('XREVRANGE', key, '+', '-', 'COUNT', 1)) do table.insert(ids, top[1]) end
  end
  for _, id in ipairs(ids) do
    local top_ms, top_n = string.match(id, '(%d+)-(%d+)')
    top_ms, top_n = tonumber(top_ms), tonumber(top_n)
    if top_ms > ms or (top_ms == ms and top_n >= n) then ms, n = top_ms, top_n + 1 end
  end
  return int(ms) .. '-' .. int(n)
end

-- Notes in the index when the oldest row of a stream was written, by which `audit_sweep` finds it; a stream without rows leaves the index.
local function index_audit(class, tenant)
  local key = audit_stream(class, tenant)
  local oldest = redis.call('XRANGE', key, '-', '+', 'COUNT', 1)[1]
  if oldest then redis.call('ZADD', K.audit_streams(), string.match(oldest[1], '%d+'), class .. ':' .. tenant)
  else redis.call('ZREM', K.audit_streams(), class .. ':' .. tenant) end
end

local function record_audit(class, tenant, actor, action, target, detail)
  local key, most = audit_stream(class, tenant)
  local id = next_audit_id()
  redis.call('SET', K.audit_last(), id)
  redis.call('XADD', key, 'MAXLEN', '~', most, id, 'actor', actor, 'action', action, 'target', target, 'detail', detail)
  index_audit(class, tenant)
  return id
end
