#!lua flags=allow-oom
-- Is every row of the audit log in `audit_order`? Those of a process of the version before are not, until a pass over all streams has put
-- them in (`audit_order_rows`). named: the pass that begins or ends; empty: nobody makes one. ended: it ends.
--@args named ended:flag
-- Returns 1 or 0.
local last = last_audit_id()
local found, ordered = redis.call('GET', K.audit_unordered()), (redis.call('GET', K.audit_ordered()) or '0-0') == last
if named ~= '' and ended then
  -- Not if such a process wrote meanwhile, nor if another pass began.
  if found == named and ordered then
    redis.call('DEL', K.audit_unordered())
    found = false
  end
elseif named ~= '' and (found or not ordered) then
  redis.call('SET', K.audit_unordered(), named)
  redis.call('SET', K.audit_ordered(), last)
  found = named
end
return (not found and ordered) and 1 or 0
