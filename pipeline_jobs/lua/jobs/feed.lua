#!lua flags=no-writes
-- A page of a tenant's feed: the events in its jobs' logs, and the ends of its batches. Events of a removed job or batch are gone. after:
-- id of the entry after which to begin. most: the maximum number of entries to look at. batch: only its events, and those of its jobs.
--@args tenant workspace? after most:int batch?
--@reply newest looked_at ended entries*
-- newest: id of the newest entry. ended: of `batch` '1' if it has ended, 'gone' if there is none, else ''. An entry is {id, job, number,
-- workspace, line}.
local newest = redis.call('XREVRANGE', K.feed(tenant), '+', '-', 'COUNT', 1)
local entries = redis.call('XRANGE', K.feed(tenant), '(' .. after, '+', 'COUNT', most)
-- The one event of a batch is made from its record: ["batch", ms, total, completed, failed, cancelled].
local function of_batch(id)
  local batch = redis.call('HMGET', K.batch(id), 'tenant_id', 'workspace_id', 'completed_at', 'total', 'completed', 'failed', 'cancelled')
  if batch[1] ~= tenant or not batch[3] or (workspace ~= '' and workspace ~= batch[2]) then return batch[2], false end
  local numbers = {}
  for i = 3, 7 do numbers[i - 2] = batch[i] or '0' end
  return batch[2], '["batch",' .. table.concat(numbers, ',') .. ']'
end
local followed = batch ~= '' and redis.call('HMGET', K.batch(batch), 'tenant_id', 'completed_at')
local ended = followed and (not followed[1] and 'gone' or followed[2] and '1') or ''
local page = {newest[1] and newest[1][1] or '0-0', #entries, ended}
for i, entry in ipairs(entries) do
  local id, number = string.match(entry[2][2], '^(.*):(%d+)$')
  local whose, line = nil, false
  -- A job may have been given an id of a batch's form. Versions before this one wrote the ends of both under one name.
  local before = string.sub(id, 1, 6) == 'batch_' and redis.call('EXISTS', K.job(id)) == 0
  if entry[2][1] == 'b' or before then
    if batch == '' or batch == id then whose, line = of_batch(id) end
  else
    local job = redis.call('HMGET', K.job(id), 'tenant_id', 'workspace_id', 'events_cut', 'created_at', 'batch_id')
    local at = tonumber(number) - tonumber(job[3] or '0') - 1
    whose = job[2]
    if job[1] == tenant and (workspace == '' or workspace == whose) and (batch == '' or batch == job[5]) then
      if at >= 0 then
        line = redis.call('LINDEX', K.events(id), at)
      elseif number == '1' then
        line = created_line(job[4])
      end
    end
  end
  -- The last entry that was looked at is always returned: the next page begins after it.
  if line or i == #entries then page[#page + 1] = {entry[1], id, number, whose or '', line or ''} end
end
return page
