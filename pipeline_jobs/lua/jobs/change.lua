#!lua
-- Change the priority or the earliest start (Unix ms; 0: now) of a job that waits.
--@args id call:digits tenant? workspace? priority:digits? start:digits?
--@settings events admits
--@reply became hints record place
-- became: 'ok' | 'unknown' (or not of this tenant and workspace; '': any) | 'late' (it is dispatched, runs, or has ended: nothing is
-- changed). record: all of it, as it is then; place: see queue_position. Sent again (the same `call`) it may have started meanwhile, and is 'ok'.
local job = load_whole(id)
if not job or not is_of(job, tenant, workspace) then return {'unknown', {}, {}, {}} end
local function changed(hints)
  local record, now = redis.call('HGETALL', K.job(id)), {}
  for i = 1, #record, 2 do now[record[i]] = record[i + 1] end
  return {'ok', hints, record, place_of(id, now)}
end
local before = found_before(job.tenant_id, call)
if before then return changed(cjson.decode(before)) end
if job.status ~= 'queued' or job.reason == 'dispatched' then return {'late', {}, {}, {}} end
local function admitted()
  -- A job of a lane that has others changes nobody's turn but theirs.
  local hints = (read_once.entered or job.crashes) and admit() or {}
  keep_found(job.tenant_id, call, cjson.encode(hints))
  return changed(hints)
end
local delayed = redis.call('ZSCORE', K.delayed(), id)
local old_priority = tonumber(job.priority or '0')
-- Its earliest start before and now; 0: none. A call that changes nothing (it was sent again) writes no event.
local function tell(was, later)
  local changes = {}
  if priority ~= '' and tonumber(priority) ~= old_priority then changes[1] = '"priority":' .. priority end
  if start ~= '' and later ~= was then changes[#changes + 1] = '"run_at":' .. (later > 0 and int(later) or 'null') end
  if changes[1] then event(id, job, 'updated', '{' .. table.concat(changes, ',') .. '}') end
end
if job.reason == 'dependency' or job.reason == 'signal' or job.reason == 'parts' then
  -- The job stays where it is; these fields count when what it waits for lets it go.
  tell(tonumber(job.run_at or '0'), tonumber(start) or 0)
  if priority ~= '' then redis.call('HSET', K.job(id), 'priority', priority) end
  if start ~= '' then redis.call('HSET', K.job(id), 'run_at', int(tonumber(start))) end
  return admitted()
end
local was = tonumber(delayed or '0')
if delayed then redis.call('ZREM', K.delayed(), id) else take_ready(id, job) end
if priority ~= '' then
  job.priority = priority
  redis.call('HSET', K.job(id), 'priority', priority)
end
-- Who starts apart from others does not start before its time (see apart).
if start ~= '' and not (job.apart_ms and tonumber(start) < was) then
  delayed = tonumber(start)
  job.reason = 'scheduled'
end
if delayed and tonumber(delayed) > NOW then
  redis.call('HSET', K.job(id), 'reason', job.reason, 'run_at', int(tonumber(delayed)))
  redis.call('ZADD', K.delayed(), int(tonumber(delayed)), id)
  redis.call('ZREM', K.ready_since(), id)
  tell(was, tonumber(delayed))
else
  redis.call('HSET', K.job(id), 'reason', 'fair_share')
  make_ready(id, job)
  tell(was, 0)
end
return admitted()
