-- Which job it was that killed its worker (docs/decisions/0017-which-job-killed-its-worker.md).
--
-- A job that kills its whole worker takes the jobs beside it with it. They did nothing, but all of them come back, and if they started
-- together they would die together, until each has crashed too often. So a job whose next crash would be its last starts apart: those that
-- were lost with one worker start one after the other, and each has for itself the time in which it would kill a worker again.

-- That time in ms: twice what the run that was lost lived, since a job mostly kills its worker at the same point, but at most a minute, or
-- the others would wait for hours where the job is innocent. Twice as long after each further crash: for a job that kills late, and where
-- workers come back so late that several start together after all. Never more than an hour.
local function time_apart(job, crashes)
  return math.min(math.min(2 * used_ms(job) + 5000, 60000) * 2 ^ (crashes - MAX_CRASHES + 1), 3600000)
end

-- Whether a run that lived so long ended in the time in which its job was apart.
local function ended_apart(long, lived) return long and lived <= tonumber(long) end

-- Returns in how many ms the job may start, and how long it is apart then. Where it ended in that time, and another one too, the other may
-- be of another worker's: then all such jobs of the pool start one after the other.
local function starts_apart(job, crashes)
  local long, of = time_apart(job, crashes), job.worker
  if crashes > MAX_CRASHES or ended_apart(job.apart_ms, used_ms(job)) then of = '' end
  local till, at = string.match(redis.call('GET', K.apart(of)) or '', '^(%d+) (%d+)$')
  -- What was written in the future is a time of the clock before.
  local from = till and tonumber(at) <= NOW and math.max(NOW, tonumber(till)) or NOW
  redis.call('SET', K.apart(of), int(from + long) .. ' ' .. int(NOW), 'PX', int(from + long - NOW))
  return from - NOW, int(long)
end

-- Whether the job is shown to kill its workers: twice it was lost with one while it was apart, and no other one that was apart was lost
-- there. The first time a new job may have done it, which nobody suspected yet.
-- Leases end one by one: so the first job tells the others that it was there (`beside`, with the fence of their run). While the worker is
-- announced, the lease ended for another reason.
local function kills_its_workers(id, job)
  local dead = tonumber(redis.call('ZSCORE', K.workers(), job.worker) or '0') <= NOW
  if not dead then return false end
  if not ended_apart(job.apart_ms, used_ms(job)) then
    if job.suspected then redis.call('HDEL', K.job(id), 'suspected') end
    return false
  end
  local alone, leases = job.beside ~= job.fence, redis.call('ZRANGE', K.leases(), 0, -1)
  spend(#leases)
  for _, other in ipairs(leases) do
    local known = other ~= id and redis.call('HMGET', K.job(other), 'worker', 'fence', 'apart_ms', 'started_at')
    if known and known[1] == job.worker and ended_apart(known[3], job.ran_until - tonumber(known[4] or NOW)) then
      alone = false
      redis.call('HSET', K.job(other), 'beside', known[2])
    end
  end
  return alone and redis.call('HINCRBY', K.job(id), 'suspected', 1) >= 2
end
