-- Shared by every script that writes. No text of a user ever gets into an error message of these functions. The arguments of a script and
-- the settings of its groups are declared in its header (store/contract.py).

-- The arguments from `first` on, as a list. Lua can return only a few thousand values at once.
local function rest(first)
  if #ARGV - first < 4000 then return {unpack(ARGV, first)} end
  local list = {}
  for i = first, #ARGV do list[i - first + 1] = ARGV[i] end
  return list
end

local TIME = redis.call('TIME')
-- In microseconds, and in milliseconds.
local MICROS = TIME[1] * 1000000 + TIME[2]
local NOW = (MICROS - MICROS % 1000) / 1000

-- While a script runs the server answers nobody else. So work that may be large is done up to this number of commands (some ten ms), and
-- the rest by further calls.
local WORK_MOST = 1200
local spent = {commands = 0}
local function spend(commands) spent.commands = spent.commands + commands end
local function worked_enough() return spent.commands >= WORK_MOST end

-- What is read, or said, at most once a script. `series`: the names of a workspace's series; `told`: the jobs of which the listeners have
-- been told; `seen`: the last reading of the clock; `pools`: the names of the pools besides `default`; `left`: what was known of pools that
-- the script has left; `freed`, `eased`: tenants and pipelines that have a slot less than before, and in which pool; `limits`, `pipes`: see
-- known; `before`: see classes; `buckets`: see rates; `entered`: the script made a tenant eligible; `fences`: of what it dispatched; `sent`: how
-- many those are; `last`, `turn`: the pools that had the last slot under a limit of all pools, before the script and in it; `whose`: the one
-- that had the last slot of the tenant that has a slot less now; `failed_parts`, `retired`: see parts; `taken`: a job has started in the process
-- that asks; `all_named`: there is no room for one more tenant's series.
local read_once = {series = {}, told = {}, left = {}, freed = {}, eased = {}, limits = {}, pipes = {}, buckets = {}, fences = {}, failed_parts = {}}

-- What is known of the pool that the script is in (`POOL`, its part of a key: '' or ':gpu'). `row`, `present`, `peak`, `shares`: see known;
-- `fleet`, `classes`: see classes; `slots`, and `recent`, the two tenants that had a job last and when, newest first, as
-- `tenant ms tenant ms`: whomever one asks for, one of the two is another; `held`: of some tenants, their slots by class; `announced`, `runs`:
-- of some workers, whether they are and how many they have; `lost`: see fair.
local here = {}

-- Goes to a pool. Returns the one that the script was in, to go back to.
local function use_pool(pool)
  local before = POOL
  if pool ~= before then
    read_once.left[before] = here
    POOL, here = pool, read_once.left[pool] or {}
  end
  return before
end

-- A job's, as a part of keys: where it waits or runs.
local function pool_of(job) return job.pool and ':' .. job.pool or '' end

-- The names of the pools besides `default`, each with a space behind it.
local function other_pools()
  read_once.pools = read_once.pools or redis.call('GET', K.pools()) or ''
  return read_once.pools
end

-- Does something in each pool, in `default` first.
local function in_each_pool(work)
  local before = use_pool('')
  work()
  for name in string.gmatch(other_pools(), '%S+') do
    use_pool(':' .. name)
    work()
  end
  use_pool(before)
end

-- The pool that the script is in is one.
local function note_pool()
  if POOL == '' then return end
  local name = string.sub(POOL, 2) .. ' '
  if string.find(' ' .. other_pools(), ' ' .. name, 1, true) then return end
  read_once.pools = read_once.pools .. name
  redis.call('SET', K.pools(), read_once.pools)
end

-- For numbers that are kept as text: Lua prints 14 digits (an order has 16), and a server may print 1e+12. Scores need no such care.
-- Nothing taken away is -0 to Lua, and no integer to the server. The C library writes a fraction's digits by long division: `%d` takes a third
-- of the time, and rounds nothing.
local function int(number) return string.format(number % 1 == 0 and '%d' or '%.0f', number + 0) end

-- NOW as text: an end and a start write it a dozen times.
local STAMP = int(NOW)

local FIELDS = {'status', 'fence', 'order', 'tenant_id', 'workspace_id', 'pipeline', 'priority', 'reason', 'cancel_requested',
  'crashes', 'created_at', 'started_at', 'worker', 'artifacts', 'artifact_bytes', 'artifacts_expire_at', 'ended_fence', 'deadline_at', 'deadline_passed', 'stage',
  'charged', 'terminal_writes', 'celery', 'batch_id', 'attempt', 'progress', 'message', 'events_cut', 'webhook', 'upload', 'run_until', 'class',
  'store_bytes', 'pool', 'segments_ms', 'apart_ms', 'beside', 'suspected', 'part_of', 'split'}

-- No tenant, workspace, pipeline or worker has this name.
local NOBODY = '?'

-- A damaged record may lack any field. Nothing else may stand still for it, and its job can be ended and removed: what is missing is
-- found elsewhere, or there is something in its place that is nobody's (`homeless`: so is its lane). Without a status it is no job.
local function made_good(id, job)
  local runs, has_fence = job.status == 'running', job.status == 'running' or job.reason == 'dispatched'
  local whole = job.tenant_id and job.workspace_id and job.pipeline and job.order and job.created_at and (job.fence or not has_fence)
  if whole and (not runs or job.worker and job.started_at) then return job end
  for _, name in ipairs({'tenant_id', 'workspace_id', 'pipeline'}) do
    job.homeless = job.homeless or not job[name]
    job[name] = job[name] or NOBODY
  end
  job.order = job.order or redis.call('ZSCORE', K.status(job.status), id) or '0'
  job.created_at = job.created_at or int(math.floor(job.order / 1000))
  -- Its first fence (see admit_here).
  if has_fence then job.fence = job.fence or int(job.order + 1) end
  if runs then job.worker, job.started_at = job.worker or NOBODY, job.started_at or STAMP end
  return job
end

-- The fields of a job that decisions are made on, as a table; nil if there is no such job.
local function load(id)
  local values = redis.call('HMGET', K.job(id), unpack(FIELDS))
  if not values[1] then return nil end
  local job = {}
  for i = 1, #FIELDS do job[FIELDS[i]] = values[i] or nil end
  return made_good(id, job)
end

-- Whether a job is of this tenant and workspace ('': of any). Asked where the job is read, so that another's costs what an unknown one does.
local function is_of(job, tenant, workspace)
  return (tenant == '' or tenant == job.tenant_id) and (workspace == '' or workspace == job.workspace_id)
end

-- A whole hash as a table.
local function fields_of(key)
  local flat, fields = redis.call('HGETALL', key), {}
  for i = 1, #flat, 2 do fields[flat[i]] = flat[i + 1] end
  return fields
end

-- `load`, with all the fields there are (`whole`): a job has half of those that `load` asks for, and
-- each that it lacks costs a look at all of them.
local function load_whole(id)
  local job = fields_of(K.job(id))
  if not job.status then return nil end
  -- Of a run before. An end has errors of its own, or none.
  job.whole, job.error = true, nil
  return made_good(id, job)
end

-- A whole hash as a flat list, behind what it is to begin with.
local function flat_of(fields, ...)
  local flat = {...}
  for name, value in pairs(fields) do
    flat[#flat + 1] = name
    flat[#flat + 1] = value
  end
  return flat
end

local function count_by(n, ...)
  redis.call('HINCRBY', K.counters(), table.concat({...}, '|'), n)
end

local function count(...) count_by(1, ...) end

-- Gives a name series of its own in the metrics, if `whose` (a tenant's workspaces; '' for the tenants) has fewer than the maximum, and
-- all together have. Returns whether it has some.
local function take_name(name, whose, most)
  -- How many workspaces of all tenants have series of their own.
  local function named_workspaces()
    return redis.call('SCARD', K.named()) - tonumber(redis.call('HGET', K.named_count(), '') or '0')
  end
  -- That there is no room for a tenant is known for the next one, too; and by a name of nobody (see series_of) to the scripts behind this one.
  if whose == '' and read_once.all_named then return false end
  local all = tonumber(redis.call('HGET', K.named_count(), whose) or '0') >= most
  if all and whose == '' then redis.call('SADD', K.named(), '|' .. most) end
  if all or named_workspaces() >= NAMED_OF_ALL then
    read_once.all_named = whose == '' or read_once.all_named
    return false
  end
  redis.call('HINCRBY', K.named_count(), whose, 1)
  redis.call('SADD', K.named(), name)
  return true
end

-- The names under which a workspace's events are counted: its own while there is room (first come, first served, kept for good), else
-- `_other`. So no series ever falls, and a scrape reads no more than it shows. The platform's canary (canary.py) does not take up a name,
-- and nobody does.
local CANARY = 'pipeline-jobs'
local function series_of(tenant, workspace)
  if tenant == NOBODY or workspace == NOBODY then return '_other', '_other' end
  local own = tenant .. '|' .. workspace
  local found = read_once.series[own]
  if not found then
    found = {tenant, workspace}
    -- Most tenants of many have none: that so many have is read with whether this one has.
    local named = tenant ~= CANARY and redis.call('SMISMEMBER', K.named(), own, tenant, '|' .. NAMED_TENANTS)
    if named and named[1] == 0 then
      read_once.all_named = read_once.all_named or named[3] == 1
      if named[2] == 0 and not take_name(tenant, '', NAMED_TENANTS) then
        found = {'_other', '_other'}
      elseif not take_name(own, tenant, NAMED_WORKSPACES) then
        found = {tenant, '_other'}
      end
    end
    read_once.series[own] = found
  end
  return found[1], found[2]
end

-- Upper bounds in ms of the histograms; the metrics module has the same list in seconds.
local BUCKETS = {100, 500, 1000, 2500, 5000, 10000, 30000, 60000, 120000, 300000, 600000, 1800000, 3600000, 14400000}

local function observe(name, job, ms)
  -- It began in the future, because the clock was set back. A sum must never fall.
  ms = math.max(0, ms)
  local bucket = 'inf'
  for _, bound in ipairs(BUCKETS) do
    if ms <= bound then bucket = bound break end
  end
  local tenant, workspace = series_of(job.tenant_id, job.workspace_id)
  count(name, tenant, workspace, bucket)
  redis.call('HINCRBY', K.counters(), table.concat({name .. '_sum', tenant, workspace}, '|'), int(ms))
end
