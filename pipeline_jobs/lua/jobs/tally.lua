#!lua flags=no-writes
-- How many jobs of a list there are by status, code of the error, batch and schedule, of the newest ones that it looks at. The arguments
-- are those of list.
--@keys indexes (sorted sets of order->id)
--@args highest lowest budget:int hidden? sizes? statuses? tag? text? code? fields:pairs
--@reply more looked_at groups*
-- more: 1, there may be others that it did not look at. looked_at: how many jobs it looked at. A group is kind ('status', 'error_code', 'batch_id', 'tag'), value, number. Of
-- tags only those are counted that a schedule gives to its jobs.
local needs = conditions(statuses, tag, fields, text, code)
local following = newest_first(fewest(sizes), highest, lowest, math.min(budget + 1, 200))
local counted, reply = {}, {'', 0}
-- As many bytes as a list looks at.
local BYTES_MOST = 4194304

local function one_more(kind, value)
  if not value or value == '' then return end
  local key = kind .. ':' .. value
  local group = counted[key]
  if not group then
    group = {kind, value, 0}
    counted[key], reply[#reply + 1] = group, group
  end
  group[3] = group[3] + 1
end

local function left(looked_at) return looked_at < budget and (not needs or needs.bytes < BYTES_MOST) end

local looked_at, id = 0, following()
while id and left(looked_at) do
  looked_at = looked_at + 1
  local job = (not needs or meets(id, needs)) and redis.call('HMGET', K.job(id), 'status', 'tenant_id', 'error_detail', 'batch_id', 'tags')
  if job and job[1] and job[2] ~= hidden then
    one_more('status', job[1])
    if job[3] then one_more('error_code', string.match(job[3], '"code":"([^"\\]+)"')) end
    one_more('batch_id', job[4])
    if job[5] then one_more('tag', string.match(job[5], '"(schedule:[^"\\]+)"')) end
  end
  id = following()
end
reply[1], reply[2] = id and 1 or 0, looked_at
return reply
