#!lua flags=no-writes
-- A page of a tenant's feed: the events in its jobs' logs, and the ends of its batches. Events of a removed job or batch are gone. after:
-- the place after which to begin. most: the maximum number of events to look at. batch: only its events, and those of its jobs.
--@args tenant workspace? after most:int batch?
--@reply newest looked_at ended entries*
-- newest: id of the newest entry. ended: of `batch` '1' if it has ended, 'gone' if there is none, else ''. An entry is {place, job, number,
-- workspace, line, batch or ''}, or the same without a batch and with an empty line: the place that was reached.
local newest = redis.call('XREVRANGE', K.feed(tenant), '+', '-', 'COUNT', 1)
local entries = redis.call('XRANGE', K.feed(tenant), '(' .. after, '+', 'COUNT', most)
local followed = batch ~= '' and redis.call('HMGET', K.batch(batch), 'tenant_id', 'completed_at')
local ended = followed and (not followed[1] and 'gone' or followed[2] and '1') or ''
local page, looked_at, last = {newest[1] and newest[1][1] or '0-0', 0, ended}, 0, nil

local function is_wanted(tenant_id, workspace_id, batch_id)
  return tenant_id == tenant and (workspace == '' or workspace == workspace_id) and (batch == '' or batch == batch_id)
end

local function add(...) page[#page + 1] = {...} end

local function look_at(place)
  looked_at, last = looked_at + 1, place
end

-- The one event of a batch is made from its record: ["batch", ms, total, completed, failed, cancelled].
local function of_batch(place, id)
  look_at(place)
  local found = redis.call('HMGET', K.batch(id), 'tenant_id', 'workspace_id', 'completed_at', 'total', 'completed', 'failed', 'cancelled')
  if not found[3] or not is_wanted(found[1], found[2], id) then return end
  local numbers = {}
  for i = 3, 7 do numbers[i - 2] = found[i] or '0' end
  add(place, id, '1', found[2], '["batch",' .. table.concat(numbers, ',') .. ']', id)
end

local function of_job(place, id, number)
  look_at(place)
  local job = redis.call('HMGET', K.job(id), 'tenant_id', 'workspace_id', 'events_cut', 'created_at', 'batch_id')
  if not is_wanted(job[1], job[2], job[5]) then return end
  local at = tonumber(number) - tonumber(job[3] or '0') - 1
  local line = at >= 0 and redis.call('LINDEX', K.events(id), at) or at < 0 and number == '1' and created_line(job[4])
  if line then add(place, id, number, job[2], line, job[5] or '') end
end

-- The first events of the jobs of a batch behind its first (see tell_created): of those that are not behind `after` yet, as many as the page
-- takes. How far a job is behind the first says its order, so one that was removed leaves its place.
local function of_many(place, id, jobs)
  local ms, number = string.match(place, '^(%d+)%-(%d+)$')
  local first = number - jobs
  local after_ms, after_number = string.match(after, '^(%d+)%-(%d+)$')
  local done = after_ms == ms and math.max(after_number - first, 0) or 0
  local to = math.min(jobs, done + most - looked_at)
  looked_at, last = looked_at + to - done, ms .. '-' .. int(first + to)
  local found = redis.call('HMGET', K.batch(id), 'tenant_id', 'workspace_id', 'created_at', 'order')
  if not is_wanted(found[1], found[2], id) then return end
  local order = found[4]
  local members = redis.call('ZRANGE', K.batch_jobs(id), int(order + done + 1), int(order + to), 'BYSCORE', 'WITHSCORES')
  for i = 1, #members, 2 do
    add(ms .. '-' .. int(first + members[i + 1] - order), members[i], '1', found[2], created_line(found[3]), id)
  end
end

for _, entry in ipairs(entries) do
  local place, kind, id, number = entry[1], entry[2][1], string.match(entry[2][2], '^(.*):(%d+)$')
  -- A job may have been given an id of a batch's form. Versions before this one wrote the ends of both under one name.
  local before = string.sub(id, 1, 6) == 'batch_' and redis.call('EXISTS', K.job(id)) == 0
  if kind == 'j' then
    of_many(place, string.sub(id, 2), tonumber(number))
  elseif kind == 'b' or before then
    of_batch(place, id)
  else
    of_job(place, id, number)
  end
  if looked_at >= most then break end
end
-- The last place that was looked at is always returned: the next page begins after it.
if last and (#page == 3 or page[#page][1] ~= last) then add(last, '', '1', '', '') end
page[2] = looked_at
return page
