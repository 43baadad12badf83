-- The audit log. (`~`: the server trims whole blocks, which costs nothing.)

-- About so many rows are kept.
local AUDIT_ROWS = 10000

local function record_audit(actor, action, target, detail)
  return redis.call('XADD', K.audit(), 'MAXLEN', '~', AUDIT_ROWS, '*', 'actor', actor, 'action', action, 'target', target, 'detail', detail)
end
