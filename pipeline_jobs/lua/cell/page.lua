#!lua flags=no-writes
-- A page of records, newest first, in one call. highest: an order ('(' in front: exclusive, or '+inf'). budget: the maximum number of
-- records to look at. record: the prefix of their keys. workspace: only records of this one; others are skipped.
--@keys index (a sorted set of order->id)
--@args highest limit:int budget:int record workspace?
--@reply next records*
-- next: where the following page begins, or ''. A record is field, value, ...
local following = newest_first({KEYS[2]}, highest, '-inf', workspace == '' and limit + 1 or math.max(limit + 1, 100))
local page, last = {''}, nil

-- Returns a record that matches, or nil.
local function wanted(id)
  if workspace ~= '' and redis.call('HGET', record .. id, 'workspace_id') ~= workspace then return nil end
  local flat = redis.call('HGETALL', record .. id)
  return flat[1] and flat
end

while true do
  local id, order = following()
  if not id then return page end
  local full = #page > limit
  if full and workspace == '' or budget == 0 then
    page[1] = last
    return page
  end
  budget = budget - 1
  local flat = wanted(id)
  if full and flat then
    page[1] = last
    return page
  elseif not full then
    -- That only others' records follow is not told.
    last, page[#page + 1] = order, flat
  end
end
