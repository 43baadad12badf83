#!lua flags=allow-oom
-- Ask for the end of the live jobs among the next so many of a list, newest first.
-- KEYS: prefix, indexes (sorted sets of order->id)
-- ARGV: highest order, lowest order, most records to look at, '1': only count, TTL ms, how many sets each index has (`fewest`),
--       what a record must have besides (`conditions`), admission
-- Returns {next order or '' (all were looked at), how many wait and end (or would) in this call, how many run and are asked to end, hints,
--       ids of those that ended in this call and were dispatched before: Celery has heard of them}.
local budget, dry, ttl_ms, needs = tonumber(ARGV[3]), ARGV[4] == '1', ARGV[5], conditions(7)
local following = newest_first(fewest(ARGV[6]), ARGV[1], ARGV[2], budget + 1)
local found, last, waiting, running, heard_of = {}, '', 0, 0, {}
while true do
  local id, order = following()
  if not id then
    last = ''
    break
  end
  if budget == 0 then break end
  budget, last = budget - 1, order
  found[#found + 1] = id
end
-- Read first, then written: an end moves its job from one of the indexes that are read.
for _, id in ipairs(found) do
  local job = (not needs or meets(id, needs)) and load(id)
  if job and (job.status == 'queued' or job.status == 'running') then
    if job.status == 'queued' then waiting = waiting + 1 else running = running + 1 end
    if not dry then
      if job.status == 'queued' and tonumber(job.fence or '0') > 0 then heard_of[#heard_of + 1] = id end
      ask_to_end(id, job, ttl_ms)
    end
  end
end
return {last, waiting, running, settle_and_admit(), heard_of}
