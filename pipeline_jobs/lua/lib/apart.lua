-- Which job it was that killed its worker.
--
-- A job that kills its whole worker takes the jobs beside it with it. They did nothing, but all of them come back, and if they started
-- together they would die together, until each has crashed too often. So a job whose next crash would be its last starts apart: those that
-- were lost with one worker start one after the other, and each has for itself the time in which it would kill a worker again.

-- That time in ms: twice what the run that was lost lived, since a job mostly kills its worker at the same point, but at most a minute, or
-- the others would wait for hours where the job is innocent. Twice as long after each further crash: for a job that kills late, and where
-- workers come back so late that several start together after all; never more than an hour.
local function time_apart(job, crashes)
  return math.min(math.min(2 * used_ms(job) + 5000, 60000) * 2 ^ (crashes - MAX_CRASHES + 1), 3600000)
end

-- Returns in how many ms the job may start, and how long it is apart then. It may have met a job that another worker was lost with: after
-- that, all of the pool start one after the other.
local function starts_apart(job, crashes)
  local long, of = time_apart(job, crashes), crashes < MAX_CRASHES and job.worker or ''
  local from = math.max(NOW, tonumber(redis.call('GET', K.apart(of)) or NOW))
  redis.call('SET', K.apart(of), int(from + long), 'PX', int(from + long - NOW))
  return from - NOW, int(long)
end

-- Whether a run that lived so long ended in the time in which its job was apart; nil: it was not.
local function ended_apart(long, lived)
  if long then return lived <= tonumber(long) end
end

-- Whether nobody else can have killed the worker with which the job was lost: of those that were apart it was the only one, or no other job
-- was there. Leases end one by one: so the first job tells the others that it was there (`beside`, with the fence of their run).
local function killed_its_worker(id, job)
  local own, alone = ended_apart(job.apart_ms, used_ms(job)), job.beside ~= job.fence
  local leases = redis.call('ZRANGE', K.leases(), 0, -1)
  spend(#leases)
  for _, other in ipairs(leases) do
    local known = other ~= id and redis.call('HMGET', K.job(other), 'worker', 'fence', 'apart_ms', 'started_at')
    if known and known[1] == job.worker then
      local its = ended_apart(known[3], job.ran_until - tonumber(known[4]))
      if its or own == nil then alone = false end
      if its == nil or its and own then redis.call('HSET', K.job(other), 'beside', known[2]) end
    end
  end
  return alone and own ~= false
end
