#!lua
-- Change the priority or the earliest start of a job that waits.
-- KEYS: prefix
-- ARGV: id, priority or '', not before ms (Unix; 0: now) or '', admission
-- Returns {'ok', hints} | {'unknown', {}} | {'late', {}} (it is dispatched, runs, or has ended: nothing is changed).
local id, priority, start = ARGV[1], ARGV[2], ARGV[3]
local job = load(id)
if not job then return {'unknown', {}} end
if job.status ~= 'queued' or job.reason == 'dispatched' then return {'late', {}} end
local before, changed = redis.call('ZSCORE', K.delayed(), id), {}
local delayed = before
if delayed then redis.call('ZREM', K.delayed(), id) else take_ready(id, job) end
if priority ~= '' then
  if tonumber(priority) ~= tonumber(job.priority or '0') then changed[#changed + 1] = '"priority":' .. priority end
  job.priority = priority
  redis.call('HSET', K.job(id), 'priority', priority)
end
if start ~= '' then
  delayed = tonumber(start)
  job.reason = 'scheduled'
end
if delayed and tonumber(delayed) > NOW then
  redis.call('HSET', K.job(id), 'reason', job.reason, 'run_at', int(tonumber(delayed)))
  redis.call('ZADD', K.delayed(), int(tonumber(delayed)), id)
else
  redis.call('HSET', K.job(id), 'reason', 'fair_share')
  make_ready(id, job)
  delayed = false
end
-- What changes nothing (it is sent again) is no event.
if start ~= '' and tonumber(delayed or '0') ~= tonumber(before or '0') then
  changed[#changed + 1] = '"run_at":' .. (delayed and int(tonumber(delayed)) or 'null')
end
if #changed > 0 then event(id, job, 'updated', '{' .. table.concat(changed, ',') .. '}') end
return {'ok', admit()}
