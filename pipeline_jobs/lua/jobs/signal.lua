#!lua
-- A signal for a job, which wakes it if it waits for that, and is kept for it if it does not yet. The first word on a signal counts, be it
-- a signal or the end of the wait for it. payload: JSON, written the same way each time. by: who sent it.
--@args id name payload by tenant? workspace? order:digits?
--@settings events admits names kept
--@reply became row hints
-- became: 'ok' (also of one that says the same as the first: nothing is changed) | 'taken' (the first said something else, or none came
-- in time) | 'ended' | 'unknown' (or not of this tenant, workspace and order; '': any). row: the first word, as JSON, or ''.
local job = load(id)
if not job or not is_of(job, tenant, workspace) or (order ~= '' and order ~= job.order) then return {'unknown', '', {}} end
local row = signal_of(id, name)
if row then
  -- What begins with a whole JSON value and a comma begins with no other.
  local same = '{"payload":' .. payload .. ','
  return {string.sub(row, 1, #same) == same and 'ok' or 'taken', row, {}}
end
if job.status ~= 'queued' and job.status ~= 'running' then return {'ended', '', {}} end
row = note_signal(id, job, name, payload, by)
count('signals', 'signal')
if job.reason == 'signal' and redis.call('HGET', K.job(id), 'awaits') == name then unpark(id, job) end
event(id, job, 'progress', 'signal ' .. name .. ' from ' .. by, 'signal:' .. job.status)
return {'ok', row, settle_and_admit()}
