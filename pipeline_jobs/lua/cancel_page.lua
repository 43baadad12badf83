#!lua flags=allow-oom
-- Ask for the end of the live jobs among the next so many of a list, newest first.
-- KEYS: prefix, indexes as for list
-- ARGV: highest order, lowest order, most records to look at, statuses, tenant or '', workspace or '' (all as for list), '1': only count, TTL ms, admission
-- Returns {next order or '' (all were looked at), how many wait and end (or would) in this call, how many run and are asked to end, hints}.
local budget, statuses, tenant, workspace, dry, ttl_ms = tonumber(ARGV[3]), set_of(ARGV[4]), ARGV[5], ARGV[6], ARGV[7] == '1', ARGV[8]
local following = newest_first({unpack(KEYS, 2)}, ARGV[1], ARGV[2], budget + 1)
local found, last, waiting, running = {}, '', 0, 0
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
  local job = load(id)
  if job and (job.status == 'queued' or job.status == 'running') and wanted({job.status, job.tenant_id, job.workspace_id}, statuses, tenant, workspace) then
    if job.status == 'queued' then waiting = waiting + 1 else running = running + 1 end
    if not dry then ask_to_end(id, job, ttl_ms) end
  end
end
return {last, waiting, running, settle_and_admit()}
