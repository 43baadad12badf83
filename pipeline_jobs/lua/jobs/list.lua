#!lua flags=no-writes
-- A page of jobs, newest first, in one call. highest, lowest: orders ('(' in front: exclusive, or '+inf', '-inf'). budget: most records to look at.
-- sizes: how many sets each index has (`fewest`). The rest is what a record must have besides (`conditions`).
--@keys indexes (sorted sets of order->id)
--@args highest lowest limit:int budget:int sizes? statuses? tag? fields:pairs
--@reply next records*
-- next: where the following page begins, or ''. A record is field, value, ...
local needs = conditions(statuses, tag, fields)
local following = newest_first(fewest(sizes), highest, lowest, needs and math.max(limit + 1, 100) or limit + 1)
local page, last = {''}, nil
while true do
  local id, order = following()
  if not id then return page end
  if #page > limit or budget == 0 then
    page[1] = last
    return page
  end
  budget, last = budget - 1, order
  if not needs or meets(id, needs) then
    local record = redis.call('HGETALL', K.job(id))
    if #record > 0 then page[#page + 1] = record end
  end
end
