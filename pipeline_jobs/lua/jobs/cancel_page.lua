#!lua flags=allow-oom
-- Ask for the end of the live jobs among the next of a list, newest first: so many (`budget`), or fewer where their ends are much work. dry: only
-- count. The rest is as for list.
--@keys indexes (sorted sets of order->id)
--@args highest lowest budget:int dry:flag hidden? sizes? statuses? tag? fields:pairs
--@settings events admits names kept
--@once
--@reply next looked_at cancelled stopping hints heard_of
-- next: an order, or '' (all were looked at). looked_at: how many were, live or not. cancelled: how many wait and end (or would) in this call;
-- stopping: how many run and are asked to end.
-- heard_of: ids of those that ended in this call and were dispatched before: Celery has heard of them.
local needs = conditions(statuses, tag, fields)
local following = newest_first(fewest(sizes), highest, lowest, budget + 1)
local found, more = {}, false
for id, order in following do
  more = #found == budget
  if more then break end
  found[#found + 1] = {id, order}
end
local looked_at, waiting, running, heard_of = 0, 0, 0, {}
-- Read first, then written: an end moves its job from one of the indexes that are read.
while looked_at < #found and not worked_enough() do
  looked_at = looked_at + 1
  local id = found[looked_at][1]
  local job = (not needs or meets(id, needs)) and load(id)
  if job and job.tenant_id ~= hidden and (job.status == 'queued' or job.status == 'running') then
    if job.status == 'queued' then waiting = waiting + 1 else running = running + 1 end
    if not dry then
      if job.status == 'queued' and tonumber(job.fence or '0') > 0 then heard_of[#heard_of + 1] = id end
      ask_to_end(id, job)
    end
  end
end
local last = (more or looked_at < #found) and found[looked_at][2] or ''
return {last, looked_at, waiting, running, settle_and_admit(), heard_of}
