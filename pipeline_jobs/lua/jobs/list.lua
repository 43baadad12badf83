#!lua flags=no-writes
-- A page of jobs, newest first, in one call. highest, lowest: orders ('(' in front: exclusive, or '+inf', '-inf'). budget: the maximum
-- number of records to look at. hidden: a tenant whose jobs are skipped. sizes: how many sets each index has (`fewest`). The rest are
-- conditions on the record (`conditions`). own: that only jobs follow which are skipped is not told, as far as the budget goes.
--@keys indexes (sorted sets of order->id)
--@args highest lowest limit:int budget:int own:flag hidden? sizes? statuses? tag? text? code? fields:pairs
--@settings admits
--@reply next looked_at records*
-- next: where the following page begins, or ''. looked_at: the number of records that were looked at, and one for each 2 kB of their texts
-- that were searched. A record is field, value, ...; the `reason` of a waiting job is its current one, as
-- `queue_position` gives it. Position and estimated start are left out: they cost too much for a page.
local needs = conditions(statuses, tag, fields, text, code)
local following = newest_first(fewest(sizes), highest, lowest, needs and math.max(limit + 1, 100) or limit + 1)
local page, last, bytes, all = {'', 0}, nil, 0, budget
-- A result in a record of the release before can have 8 MB: a page with this many bytes of results is full. It looks at no more for a text.
local BYTES_MOST = 4194304
local function made(from)
  page[1], page[2] = from, all - budget + math.floor((needs and needs.bytes or 0) / 2048)
  return page
end
while true do
  local id, order = following()
  if not id then return made('') end
  local full = #page > limit + 1
  if full and not own or budget == 0 or bytes >= BYTES_MOST or needs and needs.bytes >= BYTES_MOST then return made(last) end
  budget = budget - 1
  if not full then last = order end
  if not needs or meets(id, needs) then
    if full then return made(last) end
    local record = redis.call('HGETALL', K.job(id))
    local job = tell_reason(id, record)
    if #record > 0 and job.tenant_id ~= hidden then
      page[#page + 1] = record
      bytes = bytes + #(job.result or '')
    end
  end
end
