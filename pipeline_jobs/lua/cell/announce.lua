#!lua flags=allow-oom
-- A worker's beat: announces its slots, renews the lease of each job it runs, and replies what has become of them. leaving: the worker
-- leaves, and its announcement ends. paused: why it takes no jobs now, or ''. warning: what an operator should know of it. kind, text: its
-- class and what the class knows (lib/classes); none: it does not announce one. pool: that it serves ('': `default`). jobs: id, fence, ...
--@args worker slots:int leaving:flag paused kind? text? warning? pool? jobs:pairs
--@settings events admits names kept leases looks
--@reply replies hints
-- replies: for each job 'ok' (its run goes on, or its hint is not claimed yet) | 'cancel' | 'fenced'.

-- The other incarnations of this worker's node whose announcement has ended, as a set; nil: there is none.
local function dead_ones()
  local node = string.match(worker, '^.*/')
  if not node or tonumber(redis.call('GET', K.stranded()) or '0') <= 0 then return nil end
  local dead
  for _, other in ipairs(redis.call('HKEYS', K.running())) do
    if string.sub(other, 1, #node) == node and not redis.call('ZSCORE', K.workers(), other) then
      dead = dead or {}
      dead[other] = true
    end
  end
  return dead
end

-- Leases of theirs that were not renewed for three beats end three beats from now: when the server was away or its clock was set, a live
-- worker still has the time to renew them. A worker that leaves announces no slots, but it renews until its last job is over.
-- When each was renewed is noted: how long its run lived follows from that, and not from where its lease ends now.
local function end_leases_of(dead)
  local leases = redis.call('ZRANGEBYSCORE', K.leases(), '(' .. int(NOW + ALIVE_MS), int(NOW + LEASE_MS - ALIVE_MS), 'WITHSCORES')
  for i = 1, #leases, 2 do
    local id = leases[i]
    if dead[redis.call('HGET', K.job(id), 'worker')] then
      redis.call('HSET', K.job(id), 'renewed_at', int(leases[i + 1] - LEASE_MS))
      redis.call('ZADD', K.leases(), 'XX', 'LT', int(NOW + ALIVE_MS), id)
    end
  end
end

-- Before this beat renews its own leases: those of the others are extended, too.
mind_the_gap()
use_pool(pool ~= '' and ':' .. pool or '')
if not leaving then
  note_pool()
  if redis.call('ZADD', K.workers(), NOW + ALIVE_MS, worker) == 1 then
    redis.call('DECRBY', K.stranded(), tonumber(redis.call('HGET', K.running(), worker) or '0'))
  end
  local before = tonumber(redis.call('HGET', K.slots(), worker) or '0')
  redis.call('HSET', K.slots(), worker, int(slots))
  redis.call('INCRBY', K.capacity(), int(slots - before))
  here.row = nil
  if paused ~= '' then redis.call('HSET', K.paused(), worker, paused) else redis.call('HDEL', K.paused(), worker) end
  if (warning or '') ~= '' then redis.call('HSET', K.warnings(), worker, warning) end
  note_class(worker, kind, text, (slots == 0) ~= (before == 0))
  local dead = dead_ones()
  if dead then end_leases_of(dead) end
elseif redis.call('ZSCORE', K.workers(), worker) then
  redis.call('ZADD', K.workers(), NOW, worker)
end
local replies = {}
for i = 1, #jobs, 2 do
  local id, fence = jobs[i], jobs[i + 1]
  local job = load(id)
  if not job or job.status ~= 'running' or job.fence ~= fence then
    -- Not claimed yet: there is nothing to stop. A child that claims it right now would be killed for a healthy run.
    local awaited = job and job.fence == fence and job.status == 'queued' and job.reason == 'dispatched'
    replies[#replies + 1] = awaited and 'ok' or 'fenced'
  else
    redis.call('ZADD', K.leases(), 'XX', NOW + LEASE_MS, id)
    charge_running(id, job)
    replies[#replies + 1] = (job.cancel_requested or job.deadline_passed) and 'cancel' or 'ok'
  end
end
use_pool('')
wake()
return {replies, settle_kept_and_admit()}
