-- Shared by every script that writes. No user text ever reaches an error message of these.
-- The last six arguments of each script are the admission's: most events that a job's log and a tenant's feed keep, cap over all workers,
-- hint time (ms), broker list, hint template.
local N = #ARGV
local LOG_MOST, FEED_MOST = tonumber(ARGV[N - 5]), tonumber(ARGV[N - 4])
local CAP, HINT_MS, QUEUE, TEMPLATE = tonumber(ARGV[N - 3]), tonumber(ARGV[N - 2]), ARGV[N - 1], ARGV[N]

local TIME = redis.call('TIME')
local NOW = TIME[1] * 1000 + math.floor(TIME[2] / 1000)

-- Lua prints numbers with 14 digits: an order has 16.
local function int(number) return string.format('%.0f', number) end

local FIELDS = {'status', 'fence', 'order', 'tenant_id', 'workspace_id', 'pipeline', 'priority', 'reason', 'cancel_requested',
  'crashes', 'created_at', 'started_at', 'worker', 'artifacts', 'artifact_bytes', 'celery', 'nonce', 'ended_fence', 'deadline_at', 'deadline_passed',
  'stage', 'attempt', 'progress', 'message', 'events_cut'}

-- The fields that decide, as a table; nil if there is no such job.
local function load(id)
  local values = redis.call('HMGET', K.job(id), unpack(FIELDS))
  if not values[1] then return nil end
  local job = {}
  for i, name in ipairs(FIELDS) do job[name] = values[i] or nil end
  return job
end

local function count(...)
  redis.call('HINCRBY', K.counters(), table.concat({...}, '|'), 1)
end

-- Upper bounds in ms of the histograms; the metrics module has the same list in seconds.
local BUCKETS = {100, 500, 1000, 2500, 5000, 10000, 30000, 60000, 120000, 300000, 600000, 1800000, 3600000, 14400000}

local function observe(name, job, ms)
  local bucket = 'inf'
  for _, bound in ipairs(BUCKETS) do
    if ms <= bound then bucket = int(bound) break end
  end
  count(name, job.tenant_id, job.workspace_id, bucket)
  redis.call('HINCRBY', K.counters(), table.concat({name .. '_sum', job.tenant_id, job.workspace_id}, '|'), int(ms))
end

local function move(id, job, to)
  redis.call('ZREM', K.status(job.status), id)
  redis.call('ZREM', K.tenant_status(job.tenant_id, job.status), id)
  redis.call('ZADD', K.status(to), job.order, id)
  redis.call('ZADD', K.tenant_status(job.tenant_id, to), job.order, id)
  job.status = to
end

-- How fast jobs end, as a mean that forgets within a minute: what an honest Retry-After is made of.
local DRAIN_MS = 60000
local function drained(who)
  local before = redis.call('HMGET', K.drain(who), 'rate', 'at')
  local elapsed = NOW - tonumber(before[2] or '0')
  local rate = tonumber(before[1] or '0') * math.exp(-elapsed / DRAIN_MS) + 1000 / DRAIN_MS
  redis.call('HSET', K.drain(who), 'rate', string.format('%.6f', rate), 'at', int(NOW))
end

local function drain_rate(who)
  local known = redis.call('HMGET', K.drain(who), 'rate', 'at')
  return tonumber(known[1] or '0') * math.exp(-(NOW - tonumber(known[2] or '0')) / DRAIN_MS)
end

-- Seconds until a place in the queue should be free, 1 to 300.
local function retry_after(who)
  local rate = drain_rate(who)
  if rate <= 1 / 300 then return 300 end
  return math.max(1, math.ceil(1 / rate))
end
