-- Dispatch: which of the queued jobs get the free slots.

-- Removes workers whose announcement has ended: their slots are gone, and the leases that they hold use up no live worker's slots.
local function prune_workers()
  local gone = redis.call('ZRANGEBYSCORE', K.workers(), '-inf', STAMP)
  for _, worker in ipairs(gone) do
    here.announced = nil
    redis.call('ZREM', K.workers(), worker)
    redis.call('DECRBY', K.capacity(), tonumber(redis.call('HGET', K.slots(), worker) or '0'))
    redis.call('HDEL', K.slots(), worker)
    redis.call('HDEL', K.paused(), worker)
    redis.call('HDEL', K.warnings(), worker)
    redis.call('INCRBY', K.stranded(), tonumber(redis.call('HGET', K.running(), worker) or '0'))
  end
  if gone[1] then note_fleet() end
end

-- Of the pool. What a dead worker held counts neither against the cap nor against the slots: else nothing would start for a whole lease
-- after the only worker was killed. comes: the script has only brought a job. Where all slots are taken it leaves the workers that are gone to
-- the next beat. Where runs have them all nobody asks how many hints there are.
local function free_slots(comes)
  -- Where there are several classes, each counts its own free slots: the runs of one class do not use up the slots of another.
  local function free_of_classes()
    local free = 0
    here.classes = nil
    for _, class in ipairs(classes()) do free = free + math.max(0, class.free) end
    return free
  end
  if not comes then prune_workers() end
  local known, taken = row_of_pool(), redis.call('ZCARD', K.leases())
  local capacity, stranded = tonumber(known[1]) or 0, tonumber(known[2]) or 0
  local cap = cap_of_pool(known[5])
  here.fleet = known[6] or ''
  here.slots, here.recent = math.min(capacity, cap), here.recent or known[7] or ''
  read_once.pools, read_once.last = read_once.pools or known[8] or '', known[9] or ''
  taken = taken - stranded
  if here.fleet ~= '*' and taken >= here.slots then return 0 end
  taken = taken + redis.call('ZCARD', K.hints())
  if comes and here.fleet ~= '*' and taken >= here.slots then return 0 end
  if comes then prune_workers() end
  -- Somebody is gone.
  if not here.row then return free_slots() end
  return math.min(here.fleet == '*' and free_of_classes() or capacity - taken, cap - taken)
end

-- Admission of a pool: while a slot is free and a tenant is eligible, dispatch the job whose turn it is. Where the broker is another server
-- (TEMPLATE is empty), the hints to be published are noted: id, fence, tenant, workspace, pipeline, message, and whose queue it goes to. One
-- script dispatches at most this many jobs, in all pools together; the next script, at the latest a worker's beat, continues. slots: how many are free, if the caller knows. take(id, job, fence, class, known, changed): is asked before a hint is sent, and returns whether the job has started instead.
local DISPATCHES_MOST = 90
local function admit_here(hints, take, slots)
  -- What is asked of a job whose turn it is. whole: all of its record is read with it, and is there as `record`.
  local function known_of(id, whole)
    if not whole then return redis.call('HMGET', K.job(id), 'status', 'fence', 'celery', 'order', 'class', 'schema', 'hint_soon') end
    local job = fields_of(K.job(id))
    return {job.status, job.fence, job.celery, job.order, job.class, job.schema, job.hint_soon, record = job}
  end
  local free, first = math.min(slots or free_slots(), DISPATCHES_MOST - (read_once.sent or 0)), true
  local lost = free > 0 and any_lost()
  here.passed, here.stayed = 0, 0
  -- Tenants that wait because their class was busy are asked together with the others.
  if free > 0 and here.fleet == '*' then ask_blocked() end
  while free > 0 do
    local id, job, changed
    if lost then id, job, changed = next_lost(free) end
    lost = id
    if not id then id, job, changed = next_job(free) end
    while not id and not worked_enough() and ask_blocked() do id, job, changed = next_job(free) end
    if not id then break end
    -- The first one is most often for the process that asks, which needs all of its record.
    local known = known_of(id, take and first and not read_once.taken)
    first = false
    local class = known[1] == 'queued' and take_slot(job.pipeline, tonumber(known[6] or '1'))
    if class then
      local held = here.held and here.held[job.tenant_id]
      if held then held[class] = (held[class] or 0) + 1 end
      if class ~= (known[5] or '') then
        redis.call('HSET', K.job(id), 'class', class)
        known.class = class
      end
      -- The first fence follows from the order, which never repeats: the runs, hints and files of an earlier job with this id have other
      -- fences.
      known[4] = known[4] or redis.call('ZSCORE', K.status('queued'), id) or '0'
      local fence = int((known[2] or known[4]) + 1)
      -- Or the process that asked for it has it.
      if not (take and take(id, job, fence, class, known, changed)) then
        dispatched(id, job, fence, unpack(changed))
        -- A job that has just lost a run must not wait long for a worker that stands still with its hint: the first hint is valid for 1 s,
        -- the next one for 2 s, and so on, so that a claim which only takes long is in time at last. (Under the same fence each of them could
        -- start the job; but a fence is what a worker knows its run by, and two workers would have it.)
        if known[7] then
          local soon = math.min(HINT_MS, 1000 * known[7])
          redis.call('ZADD', K.hints(), NOW + soon, id)
          redis.call('HSET', K.job(id), 'hint_soon', int(soon / 500))
          -- It has had its turn: if this hint is lost as well, it does not wait for another one. And who asks for a job may have it before.
          redis.call('ZADD', K.lost(), int(known[4] + HINTED), id .. ' ' .. job.pipeline)
        end
        if TEMPLATE ~= '' then
          redis.call('LPUSH', queue_of(class), hint(id, job, fence, known[3] or TEMPLATE))
        else
          hints[#hints + 1] = {id, fence, job.tenant_id, job.workspace_id, job.pipeline, known[3] or '', string.sub(queue_of(class), #QUEUE + 2)}
        end
      end
      read_once.fences[id] = fence
      read_once.sent = (read_once.sent or 0) + 1
      free = free - 1
    elseif known[1] == 'queued' then
      wait_apart(id)
      -- One of those that go first stands behind all others meanwhile (see place_again).
      if lost then redis.call('ZADD', K.lost(), '+inf', id .. ' ' .. job.pipeline) end
    end
  end
end

-- Admission. Every script that frees a slot or brings a job ends with it. It looks at each pool in which something waits. comes: see free_slots.
-- Returns the hints to be published.
local function admit(take, comes)
  local hints = {}
  -- Whoever has a slot less than before, in another pool, may have waited for that in this one.
  local function come_back()
    for tenant, pool in pairs(read_once.freed) do
      if pool ~= POOL then enter_ring(tenant) end
    end
    for pipeline, pool in pairs(read_once.eased) do
      if pool ~= POOL then unblock(pipeline) end
    end
  end
  -- Half of a script's work is left to the admission, whatever came before. Otherwise no slot would be given as long as there is more to do
  -- than one script may.
  spent.commands = math.min(spent.commands, WORK_MOST / 2)
  use_pool('')
  local free, names, from = free_slots(comes), {''}, 0
  if free <= 0 and other_pools() == '' then return hints end
  for name in string.gmatch(other_pools(), '%S+') do names[#names + 1] = ':' .. name end
  if names[2] then
    -- Behind the pool that had the last such slot; before all, a pool with lost jobs that may go first now.
    for i, name in ipairs(names) do if name == (read_once.whose or read_once.last) then from = i end end
    for i, name in ipairs(names) do
      use_pool(name)
      if redis.call('ZCOUNT', K.lost(), '-inf', '(' .. int(STAYS)) > 0 then from = i - 1 end
    end
  end
  for i = 0, #names - 1 do
    use_pool(names[(from + i) % #names + 1])
    come_back()
    if POOL == '' or redis.call('EXISTS', K.ring(), K.lost(), K.blocking()) > 0 then admit_here(hints, take, POOL == '' and free or nil) end
  end
  use_pool('')
  if names[2] and read_once.turn and read_once.turn ~= read_once.last then redis.call('SET', K.pool_turn(), read_once.turn) end
  return hints
end
