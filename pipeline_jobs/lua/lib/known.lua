-- Limits, shares and pipelines: each is read at most once a script. Code that changes one writes it here and in the store at the same
-- time.

-- Reads limits as they are stored, `weight=2;paused=1`, into a table of numbers, over those that are set there already.
local function read_limits(text, limits)
  for name, value in string.gmatch(text or '', '([%w_]+)=([^;]+)') do limits[name] = tonumber(value) end
  return limits
end

-- The texts that were read last, `*` and a tenant's, and what they say: a function knows it from one call to the next, and nobody changes it.
local LAST_LIMITS = {'-', '-'}

-- A tenant's limits, with the defaults of all tenants (`*`) for those it does not have: numbers, nil where there is no limit. `may_hold`: one of
-- them may hold its jobs back.
local function limits_of(tenant)
  local limits = read_once.limits[tenant]
  if limits then return limits end
  local known = redis.call('HMGET', K.limits(), '*', tenant)
  local all, own = known[1] or '', known[2] or ''
  if LAST_LIMITS[1] == all and LAST_LIMITS[2] == own then
    limits = LAST_LIMITS[3]
  else
    limits = read_limits(own, read_limits(all, {weight = 1}))
    limits.may_hold = limits.paused or limits.max_concurrent or limits.start_rate
    LAST_LIMITS[1], LAST_LIMITS[2], LAST_LIMITS[3] = all, own, limits
  end
  read_once.limits[tenant] = limits
  return limits
end

-- The maximum number of bytes that a tenant keeps: by its limits, else by the installation's settings; nil: unlimited.
local function max_storage_of(tenant) return limits_of(tenant).max_storage_bytes or (STORAGE_MOST > 0 and STORAGE_MOST or nil) end

-- The slots of a worker that is announced in the pool; false: it is not. They are written with its announcement, and go with it.
local function announced(worker)
  here.announced = here.announced or {}
  if here.announced[worker] == nil then here.announced[worker] = redis.call('HGET', K.slots(), worker) end
  return here.announced[worker]
end

-- What is known of the pool, one text or number each: read once for who puts a tenant into the ring or frees a slot, and for the
-- admission behind that. Whoever changes one of the first two, the cap or the fleet forgets it (`here.row`). `present` is the virtual time of the last
-- dispatch, `peak` the highest of all dispatches: a run that took less than it was charged with moves its tenant's clock back, so the next
-- dispatches may be at a lower time than the last one.
local function row_of_pool()
  if not here.row then
    here.row = redis.call('MGET', K.capacity(), K.stranded(), K.present(), K.peak(), K.max_concurrent_jobs(), K.fleet(), K.recent(), K.pools(),
      K.pool_turn(), K.seen())
    if not here.present then here.present, here.peak = tonumber(here.row[3]) or 0, tonumber(here.row[4]) or 0 end
  end
  return here.row
end

-- A worker has one run more in the pool, or one less. Those of workers that are not announced are counted as stranded (see prune_workers).
local function count_run(worker, by)
  local n = redis.call('HINCRBY', K.running(), worker, by)
  if n <= 0 then redis.call('HDEL', K.running(), worker) end
  here.runs = here.runs or {}
  here.runs[worker] = math.max(0, n)
  if not announced(worker) then
    redis.call('INCRBY', K.stranded(), by)
    here.row = nil
  end
end

-- A tenant's share of the pool: its virtual time, slots (`n`), the time of its last dispatched workspace (`present`), start tokens, how fast its jobs
-- end, the virtual time with which it came (`came`: while `time` is the same, none of its jobs was dispatched), and its place among the
-- newcomers (`entry`; 0: none). Under `w:X` is the virtual time of workspace X, under `ms:X` what its runs of pipeline X usually take (a
-- moving average; false before the first). The others count in all pools, and are in the share of `default` only, where it is read with them
-- (`common`): `others` are the slots in all pools but that one. Of another pool P the fields are `time:P`, `w:P:X`, `ms:X:P`.
-- `idle`: none of its workspaces can be served, so it is not in the ring.
local SHARE = {'time', 'n', 'present', 'came', 'entry', 'tokens', 'tokens_at', 'rate', 'rate_at', 'others'}
local function share_of(tenant, workspace, pipeline, common)
  here.shares = here.shares or {}
  local share, own, takes = here.shares[tenant], workspace and 'w' .. POOL .. ':' .. workspace, pipeline and 'ms:' .. pipeline .. POOL
  common = common and not (share and share.rate)
  if share and (not own or share[own]) and (not takes or share[takes] ~= nil) and not common then return share end
  -- Each field that the hash lacks costs a look at all of it: so only those that are asked for are read, and those that are known are not.
  local fields, from = {}, share and 6 or 1
  if own and not (share and share[own]) then fields[1] = own end
  if takes and not (share and share[takes] ~= nil) then fields[#fields + 1] = takes end
  local named = #fields
  for i = from, common and 10 or 5 do fields[#fields + 1] = SHARE[i] .. POOL end
  local known = redis.call('HMGET', K.share(tenant), unpack(fields))
  share = share or {}
  for i = 1, named do share[fields[i]] = tonumber(known[i]) or (fields[i] ~= takes and 0) end
  for i = named + 1, #fields do share[SHARE[from + i - named - 1]] = tonumber(known[i]) or 0 end
  here.shares[tenant] = share
  return share
end

-- With what counts in all pools: the last five of SHARE.
local function common_of(tenant, workspace, pipeline)
  local before = use_pool('')
  local share = share_of(tenant, workspace, pipeline, true)
  use_pool(before)
  return share
end

-- A tenant's slots in all pools.
local function slots_of(tenant)
  local common = common_of(tenant)
  return common.n + common.others
end

-- A pipeline: `cap` (an admin's, else its own; nil: none), slots in use (`n` in the pool `default`, `others` in the others), `ms` (what a run
-- usually takes, over all tenants; of another pool P: `ms:P`).
local function pipe_of(pipeline)
  local pipe = read_once.pipes[pipeline]
  if not pipe then
    local known = redis.call('HMGET', K.pipelines(), 'cap:' .. pipeline, 'own:' .. pipeline, 'n:' .. pipeline, 'ms:' .. pipeline, 'others:' .. pipeline)
    pipe = {cap = tonumber(known[1] or known[2]), n = tonumber(known[3]) or 0, ms = tonumber(known[4]) or false, others = tonumber(known[5]) or 0}
    read_once.pipes[pipeline] = pipe
  end
  return pipe
end

-- One slot more, or one less.
local function count_slot(pipeline, by)
  local pipe, which = pipe_of(pipeline), POOL == '' and 'n' or 'others'
  pipe[which] = math.max(0, pipe[which] + by)
  return which .. ':' .. pipeline, pipe[which]
end

-- What a run usually takes in this pool.
local function usual_ms(pipeline)
  local pipe, which = pipe_of(pipeline), 'ms' .. POOL
  if pipe[which] == nil then pipe[which] = tonumber(redis.call('HGET', K.pipelines(), 'ms:' .. pipeline .. POOL)) or false end
  return pipe[which]
end

local function pipeline_full(pipeline)
  local pipe = pipe_of(pipeline)
  return pipe.cap and pipe.n + pipe.others >= pipe.cap
end

-- The tokens of a bucket that fills at `rate` a second and holds one second's worth (at least one); `had` of them at `at`. A bucket that
-- was last filled in the future is full: the clock was set back, and nobody should wait until it is there again.
local function tokens(had, at, rate)
  if at > NOW then return math.max(1, rate) end
  return math.min(math.max(1, rate), had + (NOW - at) / 1000 * rate)
end
