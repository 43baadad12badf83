-- Fair shares: whose turn it is (docs/fairness.md).
--
-- Two rings of virtual time, one of tenants and one of the workspaces of each tenant. A ring is a zset that holds only those who can be
-- served now, and the lowest time is next. Before all times come newcomers, and before them jobs that were lost with their worker. A
-- dispatch is charged with the pipeline's usual run time divided by the tenant's weight, a run that takes longer is charged as it goes,
-- and its end corrects the charge. A tenant that comes (back) starts at the present time, not at its old one: being idle saves up no
-- credit. A tenant at a limit is outside the ring until an event brings it back, so it costs nothing and holds nobody up.
--
-- Each pool has these rings of its own. What is done for a job is done in its pool: whoever moves one goes there first.

-- Why a tenant may not start a job now: nil, 'tenant_paused', 'tenant_concurrency' or 'tenant_rate'; of the last also the ms until it
-- may.
local function held_back(tenant)
  local limits = limits_of(tenant)
  if limits.paused and limits.paused ~= 0 then return 'tenant_paused' end
  if limits.max_concurrent and slots_of(tenant) >= limits.max_concurrent then return 'tenant_concurrency' end
  if limits.start_rate then
    local common = common_of(tenant)
    local have = tokens(common.tokens, common.tokens_at, limits.start_rate)
    if have < 1 then
      if limits.start_rate <= 0 then return 'tenant_rate', 3600000 end
      return 'tenant_rate', math.min(math.ceil((1 - have) / limits.start_rate * 1000), 3600000)
    end
  end
end

-- Newcomers stand in the ring from this score on, below every clock, in the order in which they came.
local NEWCOMERS = -1e15

-- Puts a tenant that has eligible workspaces into the ring, if nothing holds it back. came: one of them has come just now. Then a tenant
-- without limits is most often outside, and not among those that wait: whatever ends a limit asks whether they may enter.
local function enter_ring(tenant, came)
  if not came or limits_of(tenant).may_hold then
    if redis.call('ZSCORE', K.ring(), tenant) then return end
    local has_some, why, wait = redis.call('EXISTS', K.workspaces(tenant)) == 1, held_back(tenant)
    redis.call(has_some and why and 'SADD' or 'SREM', K.waiting(), tenant)
    if has_some and why == 'tenant_rate' then redis.call('ZADD', K.parked(), NOW + wait, tenant) end
    if why or not has_some then return end
  end
  local share = share_of(tenant)
  row_of_pool()
  -- A tenant that was idle is next, whatever the others' clocks are corrected to meanwhile, but only with its first job: that one is
  -- charged on top of the peak, where all the others have been; else a newcomer would gain what another was charged too much. Until then
  -- it stays a newcomer, even if it has to leave the ring, and keeps its place among them: else each that comes while its pipeline is full
  -- would be before it, and it would wait for as long as others come. Of tenants that come at the same time the first one is first, by at
  -- most a hundredth of a ms, which makes no difference to the shares.
  local waits = share.time == share.came
  local entry = waits and share.entry > 0 and share.entry or redis.call('INCR', K.entries())
  local newcomer = waits or share.time <= here.present
  local time = math.max(share.time, here.peak + entry % 100000 / 1e7)
  -- It may be in the ring with other workspaces.
  if redis.call('ZADD', K.ring(), 'NX', newcomer and NEWCOMERS + entry or time, tenant) == 0 then return end
  share.time = time
  if newcomer then share.came, share.entry = time, entry end
  redis.call('HSET', K.share(tenant), 'time' .. POOL, share.time, 'came' .. POOL, share.came, 'entry' .. POOL, share.entry)
end

-- Where the script made no tenant eligible and freed no slot, the admission before it has left nothing to be done.
local function enter(tenant, workspace)
  read_once.entered = true
  local share, own = share_of(tenant, workspace), 'w' .. POOL .. ':' .. workspace
  local time = math.max(share[own], share.present)
  share.idle = nil
  local came = redis.call('ZADD', K.workspaces(tenant), 'NX', time, workspace) == 1
  if came and time > share[own] then
    share[own] = time
    redis.call('HSET', K.share(tenant), own, time)
  end
  enter_ring(tenant, came)
end

-- A workspace has nothing that could start now; with its last one goes its tenant.
local function leave_workspace(tenant, workspace)
  redis.call('ZREM', K.workspaces(tenant), workspace)
  if redis.call('EXISTS', K.workspaces(tenant)) == 0 then redis.call('ZREM', K.ring(), tenant) end
end

-- Equal scores sort by member: priority first, then order.
local function ready_member(id, job)
  local order = job.order
  if #order < 16 then order = string.rep('0', 16 - #order) .. order end
  return order .. ':' .. id
end

local function make_ready(id, job)
  -- It waits in no lane, where it would be dispatched again and again: it can be cancelled.
  if job.homeless then return end
  local before = use_pool(pool_of(job))
  note_pool()
  -- A job whose hint was taken back counts as having waited all the time.
  redis.call('ZADD', K.ready_since(), 'NX', STAMP, id)
  redis.call('ZADD', K.ready(job.tenant_id, job.workspace_id, job.pipeline), -tonumber(job.priority or '0'), ready_member(id, job))
  -- A job behind others of its lane does not change who is eligible.
  if redis.call('ZADD', K.lanes(job.tenant_id, job.workspace_id), 0, job.pipeline) == 1 then enter(job.tenant_id, job.workspace_id) end
  use_pool(before)
end

-- An empty lane (the jobs of a workspace and pipeline) is removed, with its last lane the workspace, and with its last workspace the
-- tenant from the ring. only: this is known to be the tenant's only lane, which has one job yet.
local function drop_lane(tenant, workspace, pipeline, only)
  if only then
    redis.call('DEL', K.ready(tenant, workspace, pipeline), K.lanes(tenant, workspace), K.workspaces(tenant))
    redis.call('ZREM', K.ring(), tenant)
    share_of(tenant).idle = true
    return
  end
  redis.call('ZREM', K.lanes(tenant, workspace), pipeline)
  if redis.call('EXISTS', K.lanes(tenant, workspace)) == 0 then leave_workspace(tenant, workspace) end
end

-- Returns whether the job was in its lane.
local function take_ready(id, job)
  local before = use_pool(pool_of(job))
  local lane = K.ready(job.tenant_id, job.workspace_id, job.pipeline)
  local was_there = redis.call('ZREM', lane, ready_member(id, job)) == 1
  if redis.call('EXISTS', lane) == 0 then drop_lane(job.tenant_id, job.workspace_id, job.pipeline) end
  use_pool(before)
  return was_there
end

-- Moves the virtual times of a job's tenant and workspace by this many slot-ms (negative: too much was charged) and its slots by this
-- number; the rest are other fields of the tenant's share that changed. Returns whether the tenant may have to come into the ring.
local function charge(job, ms, slots, ...)
  local tenant, workspace = job.tenant_id, job.workspace_id
  local share, own = share_of(tenant, workspace), 'w' .. POOL .. ':' .. workspace
  local limits = limits_of(tenant)
  local time, at = share.time + ms / limits.weight, share[own] + ms
  if job.ran_until then
    -- A refund (the worker died) removes what the tenant would have to wait for, and no more: others would have to wait for it just as
    -- long.
    row_of_pool()
    time, at = math.max(time, math.min(share.time, here.present)), math.max(at, math.min(share[own], share.present))
  end
  -- A tenant with a dispatch is no newcomer any more. A charge for its earlier jobs is no dispatch: it keeps its place.
  local newcomer = share.time == share.came and slots <= 0
  local changed, moves = {'n' .. POOL, math.max(0, share.n + slots), ...}, slots > 0 or time ~= share.time or at ~= share[own]
  -- What stays as it is is not written: each number is text to the server.
  if moves then
    changed[#changed + 1], changed[#changed + 2], changed[#changed + 3], changed[#changed + 4] = 'time' .. POOL, time, own, at
    if newcomer then changed[#changed + 1], changed[#changed + 2] = 'came' .. POOL, time end
  end
  -- If it comes again, it is behind those that came meanwhile, though a charge that is put right sets its clock to where it came.
  if slots > 0 and share.entry ~= 0 then
    share.entry = 0
    changed[#changed + 1], changed[#changed + 2] = 'entry' .. POOL, share.entry
  end
  if slots > 0 and (limits.max_concurrent or limits.start_rate or pipe_of(job.pipeline).cap) then
    read_once.turn = POOL
    if other_pools() ~= '' then redis.call('HSET', K.share(tenant), 'turn', POOL) end
  end
  if newcomer then share.came = time end
  share.time, share[own], share.n = time, at, changed[2]
  redis.call('HSET', K.share(tenant), unpack(changed))
  if POOL ~= '' and slots ~= 0 then
    local common = common_of(tenant)
    common.others = math.max(0, common.others + slots)
    redis.call('HSET', K.share(tenant), 'others', common.others)
  end
  -- Nobody's place changes. (A short job costs what it was charged.) And whom nothing holds back is in the ring with all that it has.
  if share.idle or not (moves or limits.may_hold) then return false end
  local moved = not newcomer and redis.call('ZADD', K.ring(), 'XX', 'CH', time, tenant) == 1
  share.idle = not moved and redis.call('EXISTS', K.workspaces(tenant)) == 0
  if not share.idle then redis.call('ZADD', K.workspaces(tenant), 'XX', at, workspace) end
  return not (moved or share.idle)
end

-- Of the workspaces that wait for a pipeline, those with the lowest times come back, as many as there is room for.
local function unblock(pipeline)
  local room = room_of(pipeline)
  while room > 0 and not worked_enough() do
    spend(5)
    local first = redis.call('ZPOPMIN', K.blocked(pipeline))
    if not first[1] then
      redis.call('SREM', K.blocking(), pipeline)
      return
    end
    local tenant, workspace = string.match(first[1], '^([^:]*):(.*)$')
    -- It may still wait for other pipelines, with no job of this one left.
    if redis.call('ZSCORE', K.lanes(tenant, workspace), pipeline) then
      enter(tenant, workspace)
      -- A workspace whose tenant is held back does not use up the room of the next one.
      if redis.call('ZSCORE', K.ring(), tenant) then room = room - 1 end
    end
  end
end

-- A workspace that was let back for a pipeline may not use the room: it started a job of another pipeline, its job was cancelled, or its
-- tenant is at a limit by now. So before a slot stays free, those who still wait are asked. Returns whether there were any.
local function ask_blocked()
  local asked = false
  for _, pipeline in ipairs(redis.call('SMEMBERS', K.blocking())) do
    if room_of(pipeline) > 0 then
      unblock(pipeline)
      asked = true
    end
  end
  return asked
end

-- The weight of the newest value in a moving average.
local NEWEST = 0.1
local function average(before, newest) return before and before * (1 - NEWEST) + newest * NEWEST or newest end

-- The expected run time of a job in ms: that of its tenant's runs of this pipeline, else of all runs of the pipeline, else 1 s.
local function estimate(job)
  return share_of(job.tenant_id, job.workspace_id, job.pipeline)['ms:' .. job.pipeline .. POOL] or usual_ms(job.pipeline) or 1000
end

-- A clock is at most this many ms per slot ahead of what its slots have used. The second job of a newcomer waits for the others' clocks:
-- for what they were charged too much, by a wrong estimate or for time to come, it would wait while nobody uses that time.
local AHEAD_MS = 5000

-- A job takes a slot, which is charged with the estimate, and has a hint with this fence; nil: it starts at once, and its record says so
-- with its start. The rest are other fields of its tenant's share that changed. Returns what was charged.
local function dispatched(id, job, fence, ...)
  local expected = math.min(estimate(job), AHEAD_MS)
  if fence then
    redis.call('HSET', K.job(id), 'fence', fence, 'reason', 'dispatched', 'charged', int(expected))
    redis.call('ZADD', K.hints(), NOW + HINT_MS, id)
  end
  redis.call('HSET', K.pipelines(), count_slot(job.pipeline, 1))
  note_recent(job.tenant_id)
  charge(job, expected, 1, ...)
  return int(expected)
end

-- The minimum charge for a run: a slot is busy even with a job that takes no time, and a tenant with many such jobs would be served for
-- ever.
local LEAST_MS = 5

-- A clock that nobody has read for so long was set, or stood still: what passed since then is no time that a run had (see clock.lua).
local UNREAD_MS = 60000

-- From `started`, a time of the clock of the last reading or of the present one, until now.
local function since(started)
  read_once.seen = read_once.seen or tonumber(here.row and here.row[10] or redis.call('GET', K.seen()) or NOW)
  local seen = read_once.seen
  -- Where it was set back, what the run had before is not counted.
  if NOW - seen < UNREAD_MS then return NOW - started end
  return started <= seen and seen - started or math.min(NOW - started, started - seen)
end

-- How long a run has lived, in ms, without gaps. If its worker died, `ran_until` is the last time it was known to live; the time after that
-- is charged to nobody.
local function used_ms(job)
  if job.status ~= 'running' then return 0 end
  local started = tonumber(job.started_at)
  return math.max(0, job.ran_until and job.ran_until - started or since(started))
end

-- A slot is free again: the charge is corrected, and tenants and workspaces that waited for it may come back. `to`: the job's terminal
-- status, if it ends.
local function slot_freed(id, job, to, ...)
  -- How much slot time a job that leaves its slot is charged for, in ms. A dispatch that the tenant itself cancelled costs something, or a
  -- tenant that submits and cancels would be served for ever. A lost hint costs nothing, nor does
  -- a job's first run that was lost with its worker. A second one does: a tenant whose jobs kill their workers would have the slots for
  -- nothing, and everybody else would wait.
  local function worth_ms()
    if job.ran_until and not job.crashes then return 0 end
    if job.status == 'running' or job.taken_back then return math.max(LEAST_MS, used_ms(job)) end
    return 0
  end
  read_once.freed_slot = true
  -- The admission that follows needs it, too.
  row_of_pool()
  local used, pipe = worth_ms(), pipe_of(job.pipeline)
  local correction, outside = used - tonumber(job.charged or '0')
  -- For time to come at most this much was charged. If it seems to be more, the server's clock was set back, and others would have to
  -- wait for that.
  if not job.ran_until then correction = math.max(correction, -AHEAD_MS) end
  if to == 'completed' then
    local share, takes = share_of(job.tenant_id, job.workspace_id, job.pipeline), 'ms:' .. job.pipeline .. POOL
    local usual = average(usual_ms(job.pipeline), used)
    pipe['ms' .. POOL], share[takes] = usual, average(share[takes], used)
    redis.call('HSET', K.pipelines(), takes, usual, count_slot(job.pipeline, -1))
    outside = charge(job, correction, -1, takes, share[takes], ...)
  else
    redis.call('HSET', K.pipelines(), count_slot(job.pipeline, -1))
    outside = charge(job, correction, -1, ...)
  end
  if outside then enter_ring(job.tenant_id) end
  if pipe.cap then unblock(job.pipeline) end
  -- In other pools they may wait for the same limit: the admission sees to those.
  if limits_of(job.tenant_id).max_concurrent then
    read_once.freed[job.tenant_id] = POOL
    -- Which pool had its last one: others' turns are not its own.
    if other_pools() ~= '' then read_once.whose = redis.call('HGET', K.share(job.tenant_id), 'turn') or nil end
  end
  if pipe.cap then read_once.eased[job.pipeline] = POOL end
end

-- A run that takes longer than it was charged for is charged again: in steps that double, up to `AHEAD_MS`, so that it costs few writes.
local function charge_running(id, job)
  local before, used = use_pool(pool_of(job)), used_ms(job)
  local charged = tonumber(job.charged or '0')
  if used > charged then
    local more = math.min(2 * used, used + AHEAD_MS)
    note_recent(job.tenant_id)
    charge(job, more - charged, 0)
    job.charged = int(more)
    redis.call('HSET', K.job(id), 'charged', job.charged)
  end
  use_pool(before)
end

-- Of the open parts of a job, which have the same score in a sorted set, the first: as texts the tenth is before the second.
local function first_part(key, first)
  local split, lowest, rest = string.match(first, '^(%S+~%d+%.)(%d%d+)( ?%S*)$')
  if not split then return first end
  spend(5)
  local score = redis.call('ZSCORE', key, first)
  for _, other in ipairs(redis.call('ZRANGEBYSCORE', key, score, score, 'LIMIT', 0, 100)) do
    if string.sub(other, 1, #split) ~= split then break end
    lowest = math.min(lowest, string.match(other, '^%d+', #split + 1))
  end
  return split .. int(lowest) .. rest
end

-- The best job of a workspace: over its lanes by priority, then order. Lanes whose pipeline is full are passed over: the pipeline is at
-- its cap, or no free slot belongs to a worker that knows it. So are those whose last slots are for other tenants.
-- Returns member, its pipeline, whether it is the last of its lane, whether there is no other lane | nil, the pipelines that are full,
-- whether there are such others.
local function best_of(tenant, workspace, free)
  local best, score, of, last, kept
  local full, lanes = {}, redis.call('ZRANGE', K.lanes(tenant, workspace), 0, -1)
  for _, pipeline in ipairs(lanes) do
    if room_of(pipeline) <= 0 then
      full[#full + 1] = pipeline
    elseif fleet() == '*' and most_beside_others(tenant, free, pipeline) then
      kept = true
    else
      local first = redis.call('ZRANGE', K.ready(tenant, workspace, pipeline), 0, 1, 'WITHSCORES')
      if not first[1] then
        -- The lane was lost with the server's data or removed by hand: no trace of it may be in the way of the jobs that the reconciler
        -- puts back.
        redis.call('ZREM', K.lanes(tenant, workspace), pipeline)
      elseif not best or tonumber(first[2]) < score or (tonumber(first[2]) == score and first[1] < best) then
        best, score, of, last = first[1], tonumber(first[2]), pipeline, not first[3]
      end
    end
  end
  if best then return first_part(K.ready(tenant, workspace, of), best), of, last, not lanes[2] end
  return nil, full, kept
end

-- A start takes a token, if its tenant has a rate. Returns the fields of the share that changed, appended to those that are given.
local function take_token(tenant, ...)
  local rate = limits_of(tenant).start_rate
  if not rate then return {...} end
  local common = common_of(tenant)
  common.tokens, common.tokens_at = tokens(common.tokens, common.tokens_at, rate) - 1, NOW
  return {'tokens', common.tokens, 'tokens_at', STAMP, ...}
end

-- Jobs that were lost with their worker have already had their turn. A job whose tenant or pipeline is at a limit gets the next place of
-- its lane again; a job for which no worker that knows it has a free slot, or whose tenant may not have the last slots, stays the next for
-- such a slot, behind those of whom that is not known (STAYS); so does one that has a hint, until it starts. Those with hints stand above
-- HINTED, so that they are not read for each slot. Parts of a job stand at its place, and have their turns by their numbers.
-- Very many may stay, and the others wait for this admission: so it looks at LOST_MOST that do not, and at 20 that did, of which
-- nobody is looked at twice (`stayed`); the rest have their turn in their lanes. Returns the same as next_job.
local LOST_MOST = 100
-- An order is a time in microseconds: below this until 2046.
local STAYS = 24e14
local HINTED = 4e15

-- Whether the pool has any. Read once: who puts one there later in the script notes it.
local function any_lost()
  if here.lost == nil then here.lost = redis.call('EXISTS', K.lost()) == 1 end
  return here.lost
end

local function next_lost(free)
  -- Returns the same, or nil and whether the job stays.
  local function look(member)
    local id, pipeline = string.match(member, '^(%S+) (%S+)$')
    local job = slots_for(pipeline, 'free') > 0 and load(id)
    local queued = job and job.status == 'queued' and pool_of(job) == POOL
    local may = queued and not held_back(job.tenant_id) and room_of(pipeline) > 0
    spend(2)
    -- One that has a hint is here if a process of the release before sent that.
    local stays = job == false or queued and job.reason == 'dispatched' or may and most_beside_others(job.tenant_id, free, pipeline)
    if stays then return nil, true end
    redis.call('ZREM', K.lost(), member)
    if may and take_ready(id, job) then return id, job, take_token(job.tenant_id) end
  end
  while here.passed < LOST_MOST and not worked_enough() do
    local member, order = unpack(redis.call('ZRANGEBYSCORE', K.lost(), '-inf', '(' .. int(STAYS), 'WITHSCORES', 'LIMIT', 0, 1))
    if not member then break end
    member = first_part(K.lost(), member)
    local id, job, changed = look(member)
    if id then return id, job, changed end
    here.passed = here.passed + 1
    if job then redis.call('ZADD', K.lost(), int(order + 1e15), member) end
  end
  while here.stayed < 20 and not worked_enough() do
    local member = redis.call('ZRANGEBYSCORE', K.lost(), int(STAYS), '(' .. int(HINTED), 'LIMIT', here.stayed, 1)[1]
    if not member then break end
    local first = first_part(K.lost(), member)
    local id, job, changed = look(first)
    -- It may have a hint (see above), and this one none.
    if not id and first ~= member then id, job, changed = look(member) end
    if id then return id, job, changed end
    if job then here.stayed = here.stayed + 1 end
  end
end

-- Takes the job whose turn it is out of its lane. Returns nil when no tenant is eligible, else the job's id, its tenant, workspace and
-- pipeline as a table, and the fields of its tenant's share that changed. Whoever may not have the last slots stays in the ring, and is
-- passed over: it may go on with any event (others' hour, a worker that comes), and there are few of them, since each has nearly all slots.
-- Where there are several classes, so are its first workspaces that wait for such slots only.
local function next_job(free)
  local passed, waiting = 0, 0
  while not worked_enough() do
    local first = redis.call('ZRANGE', K.ring(), passed, passed, 'WITHSCORES')
    local tenant = first[1]
    if not tenant then return nil end
    local place = redis.call('ZRANGE', K.workspaces(tenant), waiting, waiting + 1, 'WITHSCORES')
    local workspace, only_one = place[1], waiting == 0 and not place[3]
    local why, wait = held_back(tenant)
    if waiting > 0 and (waiting > 20 or not workspace) then
      passed, waiting = passed + 1, 0
    elseif why or not workspace then
      spend(8)
      redis.call('ZREM', K.ring(), tenant)
      if why then redis.call('SADD', K.waiting(), tenant) end
      if why == 'tenant_rate' then redis.call('ZADD', K.parked(), NOW + wait, tenant) end
    elseif fleet() ~= '*' and most_beside_others(tenant, free) then
      spend(5)
      passed = passed + 1
    else
      local member, pipeline, last, only_lane = best_of(tenant, workspace, free)
      if member then
        local share = share_of(tenant, workspace, pipeline)
        local only = last and only_lane and only_one
        if not only then redis.call('ZREM', K.ready(tenant, workspace, pipeline), member) end
        if last then drop_lane(tenant, workspace, pipeline, only) end
        local now = tonumber(first[2])
        if now > NEWCOMERS / 2 and now ~= here.present then
          here.present, here.peak = now, math.max(now, here.peak)
          redis.call('MSET', K.present(), first[2], K.peak(), here.peak)
        end
        share.present = tonumber(place[2])
        local job = {tenant_id = tenant, workspace_id = workspace, pipeline = pipeline, pool = POOL ~= '' and string.sub(POOL, 2) or nil}
        return string.sub(member, 18), job, take_token(tenant, 'present' .. POOL, place[2])
      end
      spend(10)
      if last then
        waiting = waiting + 1
      else
        -- Each of its lanes waits for a full pipeline (or was empty): the first pipeline that has room brings the workspace back.
        leave_workspace(tenant, workspace)
        for _, full in ipairs(pipeline) do
          redis.call('ZADD', K.blocked(full), first[2], tenant .. ':' .. workspace)
          redis.call('SADD', K.blocking(), full)
        end
      end
    end
  end
end
