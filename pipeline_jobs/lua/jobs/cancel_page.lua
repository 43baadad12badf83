#!lua flags=allow-oom
-- Cancel the live jobs among the next `budget` of a list, newest first; fewer if their ends are much work. dry: only count them. The
-- other arguments are those of list. turn: what tells this cancellation from others of its tenant; operator: of an operator's instead.
--@keys indexes (sorted sets of order->id)
--@args highest lowest budget:int dry:flag turn operator:flag took? hidden? sizes? statuses? tag? text? code? fields:pairs
--@settings events admits names kept
--@once
--@reply next looked_at cancelled stopping hints heard_of wait whose
-- next: an order, or '' (all were looked at). looked_at: the number of jobs that were looked at, live or not. cancelled: the number of
-- queued jobs, which end (or would end) in this call; stopping: the number of running jobs, which are asked to end. heard_of: ids of
-- those that ended in this call and had been dispatched before, so Celery knows of them. wait: ms after which to ask again, because
-- another such cancellation has its turn (nothing was done); 0: none has. whose: the tenant ('*': operators) whose turn this one has, or
-- ''; the next page is told it as `took`.
local TURN_MS = 200
local needs = conditions(statuses, tag, fields, text, code)
local following = newest_first(fewest(sizes), highest, lowest, budget + 1)
local found, more = {}, false
for id, order in following do
  more = #found == budget
  if more then break end
  found[#found + 1] = {id, order}
end
-- A page holds the server for some ms. Of one tenant one cancellation is at work at a time: many at once would stand in a row before every
-- command of others. Its turn lapses if it does not go on. No tenant's is in the way of an operator's.
-- The index may be one of all tenants' jobs, and the first that is found another's, whose turn this is not. The last page may have none that
-- is meant, and ends the turn all the same.
local function is_meant(one)
  if one.meant == nil then one.meant = not needs or meets(one[1], needs) end
  return one.meant
end
local function owner()
  if operator then return found[1] and '*' end
  for _, one in ipairs(found) do
    local tenant = is_meant(one) and redis.call('HGET', K.job(one[1]), 'tenant_id')
    if tenant and tenant ~= hidden then return tenant end
  end
end
local whose = not dry and (took ~= '' and took or owner())
local holder = whose and redis.call('GET', K.bulk(whose))
if holder and holder ~= turn then
  read_once.nothing_done = true
  return {'', 0, 0, 0, {}, {}, math.max(1, redis.call('PTTL', K.bulk(whose))), ''}
end
local looked_at, waiting, running, heard_of = 0, 0, 0, {}
-- The page is read first and written afterwards: an end moves its job out of one of the indexes that are read.
while looked_at < #found and not worked_enough() do
  looked_at = looked_at + 1
  local id = found[looked_at][1]
  local job = is_meant(found[looked_at]) and load(id)
  if job and job.tenant_id ~= hidden and (job.status == 'queued' or job.status == 'running') then
    if job.status == 'queued' then waiting = waiting + 1 else running = running + 1 end
    if not dry then
      if job.status == 'queued' and tonumber(job.fence or '0') > 0 then heard_of[#heard_of + 1] = id end
      ask_to_end(id, job)
    end
  end
end
local last = (more or looked_at < #found) and found[looked_at][2] or ''
if whose and last ~= '' then
  redis.call('SET', K.bulk(whose), turn, 'PX', TURN_MS)
elseif holder then
  redis.call('DEL', K.bulk(whose))
end
read_once.nothing_done = dry or waiting + running == 0
return {last, looked_at, waiting, running, settle_and_admit(), heard_of, 0, whose or ''}
