-- The last slots are for others (docs/fairness.md, rule 8): long jobs of one tenant in all slots would make the next tenant wait for as
-- long as those take.

-- What is read at most once a script: `slots`, and `recent`, the two tenants that had a job last and when, newest first, as
-- `tenant ms tenant ms`: whomever one asks for, one of the two is another.
local read_once = {}

-- The number of jobs that may run at once on all live workers.
local function live_slots()
  if not read_once.slots then
    local known = redis.call('MGET', K.capacity(), K.max_concurrent_jobs())
    read_once.slots = math.min(tonumber(known[1] or '0'), tonumber(known[2] or CAP))
    if redis.call('ZCOUNT', K.workers(), int(NOW), '+inf') == 0 then read_once.slots = 0 end
  end
  return read_once.slots
end

-- Of the two: how long ago this one had a job, in ms (nil: it is not among them), the newest other, and when that had one.
local function lately(tenant)
  local age, other, at
  read_once.recent = read_once.recent or redis.call('GET', K.recent()) or ''
  for name, ms in string.gmatch(read_once.recent, '(%S+) (%d+)') do
    if name == tenant then
      age = NOW - ms
    elseif not other then
      other, at = name, ms
    end
  end
  return age, other, at
end

-- A tenant has a job now. Written at most once a minute for each, since each dispatch and each renewed lease calls this.
local function note_recent(tenant)
  local age, other, at = lately(tenant)
  if tenant == CANARY or (age and age >= 0 and age < 60000) then return end
  read_once.recent = tenant .. ' ' .. int(NOW) .. (other and ' ' .. other .. ' ' .. at or '')
  redis.call('SET', K.recent(), read_once.recent)
end

-- The number of slots that a tenant has which may have no more, because another had a job in the last hour and the rest is for others; nil:
-- it may have more. free: while there are more free slots than are kept for others it may, too: some that it has are of a worker that died.
local function most_beside_others(tenant, free)
  local reserved = RESERVED >= 0 and RESERVED or (live_slots() >= 4 and 1 or 0)
  if reserved == 0 or (free or 0) > reserved then return nil end
  local most = math.max(1, live_slots() - reserved)
  if share_of(tenant).n < most then return nil end
  local _, other, at = lately(tenant)
  -- A time to come was noted before the clock was set back: it holds nobody up.
  if other and NOW - at >= 0 and NOW - at < 3600000 then return most end
end
