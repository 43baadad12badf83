-- The audit log: two capped streams that are read as one. Routine work has a stream of its own, so that no number of such rows pushes out
-- the row that says who made a key or changed a limit. (`~`: the server trims whole blocks, which costs nothing.)

-- The number of rows that each stream keeps, approximately.
local AUDIT_ROWS, AUDIT_WORK_ROWS = 50000, 10000

-- Returns an id that is later than any in either stream: both have one order, and one id serves as the cursor.
local function next_audit_id()
  local ms, n = NOW, 0
  for _, key in ipairs({K.audit(), K.audit_work()}) do
    for _, top in ipairs(redis.call('XREVRANGE', key, '+', '-', 'COUNT', 1)) do
      local top_ms, top_n = string.match(top[1], '(%d+)-(%d+)')
      top_ms, top_n = tonumber(top_ms), tonumber(top_n)
      if top_ms > ms or (top_ms == ms and top_n >= n) then ms, n = top_ms, top_n + 1 end
    end
  end
  return int(ms) .. '-' .. int(n)
end

local function record_audit(work, actor, action, target, detail)
  local key, most = K.audit(), AUDIT_ROWS
  if work then key, most = K.audit_work(), AUDIT_WORK_ROWS end
  return redis.call('XADD', key, 'MAXLEN', '~', most, next_audit_id(), 'actor', actor, 'action', action, 'target', target, 'detail', detail)
end
