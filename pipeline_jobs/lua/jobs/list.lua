#!lua flags=no-writes
-- A page of jobs, newest first, in one call. highest, lowest: orders ('(' in front: exclusive, or '+inf', '-inf'). budget: most records to look at.
-- hidden: a tenant whose jobs are passed over. sizes: how many sets each index has (`fewest`). The rest is what a record must have besides (`conditions`).
--@keys indexes (sorted sets of order->id)
--@args highest lowest limit:int budget:int hidden? sizes? statuses? tag? fields:pairs
--@settings admits
--@reply next records*
-- next: where the following page begins, or ''. A record is field, value, ...; `reason` of a job that waits is the one it has now, as `why` gives
-- it; its position and when it starts are not: those cost too much for a page.
local needs = conditions(statuses, tag, fields)
local following = newest_first(fewest(sizes), highest, lowest, needs and math.max(limit + 1, 100) or limit + 1)
local page, last, bytes = {''}, nil, 0
-- Results are up to 8 MB: a page that has so much of them is full.
local BYTES_MOST = 4194304
while true do
  local id, order = following()
  if not id then return page end
  if #page > limit or budget == 0 or bytes >= BYTES_MOST then
    page[1] = last
    return page
  end
  budget, last = budget - 1, order
  if not needs or meets(id, needs) then
    local record = redis.call('HGETALL', K.job(id))
    local job = tell_reason(id, record)
    if #record > 0 and job.tenant_id ~= hidden then
      page[#page + 1] = record
      bytes = bytes + #(job.result or '')
    end
  end
end
