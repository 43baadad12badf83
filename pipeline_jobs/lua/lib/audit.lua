-- The audit log: capped streams that are read as one. Each tenant has two of its own and the installation (`*`) has two, one for security
-- and one for the daily work, so that no number of rows of one pushes out those of another. (`~`: the server trims whole blocks, which
-- costs nothing.)

-- The number of rows that each stream keeps, approximately: of the installation, and of a tenant.
local AUDIT_ROWS, AUDIT_WORK_ROWS, AUDIT_TENANT_ROWS, AUDIT_TENANT_WORK_ROWS = 50000, 10000, 10000, 2000
-- How many more it may have before they go, in one step.
local AUDIT_BLOCK = 100

-- The stream of a class (`security`, `work`), and how many rows it keeps. Those of the installation have the names that the versions before
-- gave to all rows, so that their rows are read on.
local function audit_stream(class, tenant)
  if tenant ~= '*' then return K.tenant_audit(class, tenant), class == 'work' and AUDIT_TENANT_WORK_ROWS or AUDIT_TENANT_ROWS end
  if class == 'work' then return K.audit_work(), AUDIT_WORK_ROWS end
  return K.audit(), AUDIT_ROWS
end

-- The id of the newest row of all; `0-0`: there has been none. A process of the version before last writes the installation's streams
-- without noting the id: whoever writes there, or reads, looks for that.
local function last_audit_id()
  local last, last_ms, last_n = '0-0', 0, 0
  local ids = {redis.call('GET', K.audit_last()) or nil}
  for _, key in ipairs({K.audit(), K.audit_work()}) do
    for _, top in ipairs(redis.call('XREVRANGE', key, '+', '-', 'COUNT', 1)) do table.insert(ids, top[1]) end
  end
  for _, id in ipairs(ids) do
    local ms, n = string.match(id, '(%d+)-(%d+)')
    ms, n = tonumber(ms), tonumber(n)
    if ms > last_ms or (ms == last_ms and n > last_n) then last, last_ms, last_n = id, ms, n end
  end
  return last
end

-- Returns an id that is later than that one: all streams have one order, and one id serves as the cursor.
local function next_audit_id(last)
  local ms, n = string.match(last, '(%d+)-(%d+)')
  ms, n = tonumber(ms), tonumber(n)
  if ms < NOW then return int(NOW) .. '-0' end
  return int(ms) .. '-' .. int(n + 1)
end

-- A row's member of `audit_order`, whose members sort as texts.
local function audit_place(id, class, tenant)
  local ms, n = string.match(id, '(%d+)-(%d+)')
  return string.format('%015d-%015d:%s:%s', ms, n, class, tenant)
end

-- Removes this many of the oldest rows of a stream. By their ids: as the server trims, nobody is told which they were.
local function trim_audit(key, class, tenant, over)
  local ids, places = {}, {}
  for _, row in ipairs(redis.call('XRANGE', key, '-', '+', 'COUNT', math.min(over, 2 * AUDIT_BLOCK))) do
    table.insert(ids, row[1])
    table.insert(places, audit_place(row[1], class, tenant))
  end
  redis.call('XDEL', key, unpack(ids))
  redis.call('ZREM', K.audit_order(), unpack(places))
end

-- Notes in the index when the oldest row of a stream was written, by which `audit_sweep` finds it; a stream without rows leaves the index.
local function index_audit(class, tenant)
  local key = audit_stream(class, tenant)
  local oldest = redis.call('XRANGE', key, '-', '+', 'COUNT', 1)[1]
  if oldest then redis.call('ZADD', K.audit_streams(), string.match(oldest[1], '%d+'), class .. ':' .. tenant)
  else redis.call('ZREM', K.audit_streams(), class .. ':' .. tenant) end
end

local function record_audit(class, tenant, actor, action, target, detail)
  local noted = redis.call('MGET', K.audit_last(), K.audit_ordered())
  local last = tenant ~= '*' and noted[1] or last_audit_id()
  local id = next_audit_id(last)
  -- A process of the version before wrote the last one, and not in `audit_order`.
  if (noted[2] or '0-0') ~= last then redis.call('SET', K.audit_unordered(), '1') end
  redis.call('MSET', K.audit_last(), id, K.audit_ordered(), id)
  local key, most = audit_stream(class, tenant)
  redis.call('XADD', key, id, 'actor', actor, 'action', action, 'target', target, 'detail', detail)
  redis.call('ZADD', K.audit_order(), 0, audit_place(id, class, tenant))
  -- Only with the first row, and where rows go, another one is the oldest. (The installation may have rows of a version without the index.)
  local rows = redis.call('XLEN', key)
  if rows - most >= AUDIT_BLOCK then trim_audit(key, class, tenant, rows - most)
  elseif rows > 1 and tenant ~= '*' then return id end
  index_audit(class, tenant)
  return id
end
