-- Limits, shares and pipelines: each is read at most once a script. Code that changes one writes it here and in the store at the same
-- time.

-- Reads limits as they are stored, `weight=2;paused=1`, into a table of numbers, over those that are set there already.
local function read_limits(text, limits)
  for name, value in string.gmatch(text or '', '([%w_]+)=([^;]+)') do limits[name] = tonumber(value) end
  return limits
end

local seen = {}
-- A tenant's limits, with the defaults of all tenants (`*`) for those it does not have: numbers, nil where there is no limit.
local function limits_of(tenant)
  local limits = seen[tenant]
  if limits then return limits end
  local known = redis.call('HMGET', K.limits(), '*', tenant)
  limits = {weight = 1}
  if known[1] then read_limits(known[1], limits) end
  if known[2] then read_limits(known[2], limits) end
  seen[tenant] = limits
  return limits
end

-- The maximum number of bytes that a tenant keeps: by its limits, else by the installation's settings; nil: unlimited.
local function max_storage_of(tenant) return limits_of(tenant).max_storage_bytes or (STORAGE_MOST > 0 and STORAGE_MOST or nil) end

-- A tenant's share: its virtual time, slots (`n`), the time of its last dispatched workspace (`present`), start tokens, how fast its jobs
-- end, the virtual time with which it came (`came`: while `time` is the same, none of its jobs was dispatched), and its place among the
-- newcomers (`entry`; 0: none). Under `w:X` is the virtual time of workspace X, under `ms:X` what its runs of pipeline X usually take (a
-- moving average; nil before the first).
local SHARE = {'time', 'n', 'present', 'tokens', 'tokens_at', 'rate', 'rate_at', 'came', 'entry'}
local shares = {}
local function share_of(tenant, workspace, pipeline)
  local share, own, takes = shares[tenant], 'w:' .. (workspace or ''), 'ms:' .. (pipeline or '')
  if not share then
    local known = redis.call('HMGET', K.share(tenant), own, takes, unpack(SHARE))
    share = {[own] = tonumber(known[1]) or 0, [takes] = tonumber(known[2]) or false}
    for i = 1, #SHARE do share[SHARE[i]] = tonumber(known[i + 2]) or 0 end
    shares[tenant] = share
    return share
  end
  if workspace and not share[own] then share[own] = tonumber(redis.call('HGET', K.share(tenant), own)) or 0 end
  if pipeline and share[takes] == nil then share[takes] = tonumber(redis.call('HGET', K.share(tenant), takes)) or false end
  return share
end

-- A pipeline: `cap` (an admin's, else its own; nil: none), `n` (slots in use), `ms` (what a run usually takes, over all tenants).
local pipes = {}
local function pipe_of(pipeline)
  local pipe = pipes[pipeline]
  if not pipe then
    local known = redis.call('HMGET', K.pipelines(), 'cap:' .. pipeline, 'own:' .. pipeline, 'n:' .. pipeline, 'ms:' .. pipeline)
    pipe = {cap = tonumber(known[1] or known[2]), n = tonumber(known[3]) or 0, ms = tonumber(known[4])}
    pipes[pipeline] = pipe
  end
  return pipe
end

local function pipeline_full(pipeline)
  local pipe = pipe_of(pipeline)
  return pipe.cap and pipe.n >= pipe.cap
end

-- The tokens of a bucket that fills at `rate` a second and holds one second's worth (at least one); `had` of them at `at`. A bucket that
-- was last filled in the future is full: the clock was set back, and nobody should wait until it is there again.
local function tokens(had, at, rate)
  if at > NOW then return math.max(1, rate) end
  return math.min(math.max(1, rate), had + (NOW - at) / 1000 * rate)
end
