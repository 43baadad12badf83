-- The last slots are for others (docs/fairness.md, rule 8): long jobs of one tenant in all slots would make the next tenant wait for as
-- long as those take.

-- The cap of the pool: the one that was set when a worker started. CAP, this process's own, is used only where none was set.
local function cap_of_pool(set) return tonumber(set) or (POOL == '' and CAP or math.huge) end

-- The number of jobs that may run at once on all live workers of the pool.
local function live_slots()
  if not here.slots then
    local known = redis.call('MGET', K.capacity(), K.max_concurrent_jobs())
    here.slots = math.min(tonumber(known[1] or '0'), cap_of_pool(known[2]))
    if redis.call('ZCOUNT', K.workers(), STAMP, '+inf') == 0 then here.slots = 0 end
  end
  return here.slots
end

-- Of the two: how long ago this one had a job, in ms (nil: it is not among them), the newest other, and when that had one; and how many of
-- the two were noted within a minute.
local function lately(tenant)
  local age, other, at
  local fresh = 0
  here.recent = here.recent or redis.call('GET', K.recent()) or ''
  for name, ms in string.gmatch(here.recent, '(%S+) (%d+)') do
    if NOW - ms >= 0 and NOW - ms < 60000 then fresh = fresh + 1 end
    if name == tenant then
      age = NOW - ms
    elseif not other then
      other, at = name, ms
    end
  end
  return age, other, at, fresh
end

-- A tenant has a job now. Written at most once a minute for each, since each dispatch and each renewed lease calls this; and not while two
-- others were noted within the minute: of many tenants that take turns each would be written at each dispatch.
local function note_recent(tenant)
  local age, other, at, fresh = lately(tenant)
  if tenant == CANARY or (age and age >= 0 and age < 60000) or (not age and fresh == 2) then return end
  here.recent = tenant .. ' ' .. STAMP .. (other and ' ' .. other .. ' ' .. at or '')
  redis.call('SET', K.recent(), here.recent)
end

-- Where there are several classes: how many slots of those that know a pipeline a tenant has, and of workers that are gone (they are of no
-- class). Counted once a script, for the few tenants that have nearly all slots of something.
local HELD_MOST = 400
local function held_of(tenant, pipeline)
  here.held = here.held or {}
  local held, n = here.held[tenant], 0
  if not held then
    held = {}
    local class_of, slots = fields_of(K.class_of()), fields_of(K.slots())
    local running, hints = redis.call('ZRANGE', K.tenant_status(tenant, 'running'), 0, -1), redis.call('ZRANGE', K.hints(), 0, -1)
    for _, part in ipairs(redis.call('ZRANGE', K.tenant_status(tenant, 'part_running'), 0, -1)) do running[#running + 1] = part end
    for _, id in ipairs(running) do
      local known = redis.call('HMGET', K.job(id), 'worker', 'pool')
      local class = slots[known[1] or ''] and (class_of[known[1] or ''] or '') or 'gone'
      -- Its jobs in other pools have none of these slots.
      if pool_of({pool = known[2] or nil}) == POOL then held[class] = (held[class] or 0) + 1 end
    end
    for _, id in ipairs(hints) do
      local sent = redis.call('HMGET', K.job(id), 'tenant_id', 'class')
      if sent[1] == tenant then held[sent[2] or ''] = (held[sent[2] or ''] or 0) + 1 end
    end
    spend(#running + #hints)
    here.held[tenant] = held
  end
  for _, class in ipairs(classes()) do
    if knows(class.text, pipeline) then n = n + (held[class.name] or 0) end
  end
  return n + (held.gone or 0)
end

-- The number of slots that a tenant may have which has so many already, because another had a job in the last hour and the rest is for
-- others, and how many it has; nil: it may have more. free: while there are more free slots than are kept for others it may, too: some that
-- it has are of a worker that died. Where there are several classes, the slots are those that can run the pipeline: others' are of no use
-- to the next tenant, and are no reason to wait.
local function most_beside_others(tenant, free, pipeline)
  local slots, apart = live_slots(), pipeline and fleet() == '*'
  if apart then
    slots = math.min(slots, slots_for(pipeline, 'slots'))
    free = free and math.min(free, slots_for(pipeline, 'free'))
  end
  local reserved = RESERVED >= 0 and RESERVED or (slots >= 4 and 1 or 0)
  if reserved == 0 or (free or 0) > reserved then return nil end
  local most, held = math.max(1, slots - reserved), share_of(tenant).n
  if held < most then return nil end
  local _, other, at = lately(tenant)
  -- A time to come was noted before the clock was set back: it holds nobody up.
  if not other or NOW - at < 0 or NOW - at >= 3600000 then return nil end
  -- Very many are not counted one by one in each script: then the slots of all classes count together.
  if apart and held + redis.call('ZCARD', K.hints()) <= HELD_MOST then held = held_of(tenant, pipeline) end
  if held >= most then return most, held end
end
