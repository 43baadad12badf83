#!lua flags=no-writes
-- A page of jobs, newest first, in one call.
-- KEYS: prefix, indexes (sorted sets of order->id)
-- ARGV: highest order ('(' in front: exclusive, or '+inf'), lowest order or '-inf', most jobs, most records to look at,
--       how many sets each index has (`fewest`), what a record must have besides (`conditions`), admission
-- Returns {next order or '', {field, value, ...}, ...}. `next` is where the following page begins.
local limit, budget, needs = tonumber(ARGV[3]), tonumber(ARGV[4]), conditions(6)
local following = newest_first(fewest(ARGV[5]), ARGV[1], ARGV[2], needs and math.max(limit + 1, 100) or limit + 1)
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
