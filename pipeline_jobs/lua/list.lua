#!lua flags=no-writes
-- A page of jobs, newest first, in one call.
-- KEYS: prefix, indexes (sorted sets of order->id) whose union is looked at
-- ARGV: highest order ('(' in front: exclusive, or '+inf'), lowest order or '-inf', most jobs, most records to look at,
--       and of the records only those with: statuses (comma separated or ''), tenant or '', workspace or ''
-- Returns {next order or '', {field, value, ...}, ...}. `next` is where the following page begins.
local limit, budget, statuses, tenant, workspace = tonumber(ARGV[3]), tonumber(ARGV[4]), set_of(ARGV[5]), ARGV[6], ARGV[7]
local all = not statuses and tenant == '' and workspace == ''
local following = newest_first({unpack(KEYS, 2)}, ARGV[1], ARGV[2], limit + 1)
local page, last = {''}, nil
while true do
  local id, order = following()
  if not id then return page end
  if #page > limit or budget == 0 then
    page[1] = last
    return page
  end
  budget, last = budget - 1, order
  if all or wanted(redis.call('HMGET', K.job(id), 'status', 'tenant_id', 'workspace_id'), statuses, tenant, workspace) then
    local record = redis.call('HGETALL', K.job(id))
    if #record > 0 then page[#page + 1] = record end
  end
end
