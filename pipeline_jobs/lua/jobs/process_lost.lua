#!lua flags=allow-oom
-- A process that ran jobs for a worker is gone, or cannot say what became of its call. Each lease that it has goes back, and so does the
-- hint that it was given and did not claim. id, fence: of that hint. why, error, detail: as for requeue. runs: the nonces of the process.
-- Whatever it sent and comes later is refused, since those jobs are not dispatched and not its own any more.
--@args id fence:digits worker why error detail runs:list
--@settings events admits names kept crashes
--@once
--@reply moved hints
-- moved: {{id, 'queued' | 'failed' | 'cancelled' | 'hint'}, ...}
local moved, own = {}, {}
for _, run in ipairs(runs) do own[run] = true end
local function give_back()
  for _, other in ipairs(redis.call('ZRANGE', K.leases(), 0, -1)) do
    local known = redis.call('HMGET', K.job(other), 'worker', 'run')
    if known[1] == worker and own[known[2]] then moved[#moved + 1] = {other, give_up(other, load(other), why, error, detail)} end
  end
end
if runs[1] then in_each_pool(give_back) end
local job = load(id)
if job and job.status == 'queued' and job.fence == fence and job.reason == 'dispatched' then
  hint_lost(id, job)
  moved[#moved + 1] = {id, 'hint'}
end
return {moved, settle_and_admit()}
