-- Webhooks: which deliveries the end of a job creates, and whose turn it is to be sent to (docs/webhooks.md).
--
-- Pending deliveries lie in lanes, one for each host of a tenant. Two rings of turns, of tenants and of a tenant's hosts, hold those with
-- something due; one that was served goes to the back. So neither a tenant with a long backlog nor one with many hosts comes before the
-- others.

-- A tenant with this many pending deliveries gets no new jobs: its receivers have been away for long, and each delivery keeps a record.
-- Each queued job makes one for each endpoint as it ends, and all may end at once, by one cancel: those of several endpoints count before
-- they are there, or a tenant could have fifty times as many.
local MOST_PENDING = 100000

-- A tenant's endpoints, at most (endpoints.py).
local MOST_ENDPOINTS = 50

-- Whether it has so many. jobs, receivers: how many more of these it is to have. all: how many jobs of all tenants are queued, if that is
-- known: where these are few, nobody's endpoints are counted.
local function webhooks_full(tenant, jobs, receivers, all)
  local pending = redis.call('ZCARD', K.deliveries_in(tenant, 'pending'))
  if pending >= MOST_PENDING then return true end
  if all and pending + (jobs + all) * MOST_ENDPOINTS <= MOST_PENDING then return false end
  receivers = receivers + redis.call('ZCARD', K.tenant_endpoints(tenant))
  return receivers > 1 and pending + (jobs + redis.call('ZCARD', K.tenant_status(tenant, 'queued'))) * receivers > MOST_PENDING
end

local function next_turn() return redis.call('INCR', K.webhook_turn()) end

local function lane_due(tenant, host)
  if not redis.call('ZSCORE', K.webhook_lanes(tenant), host) then redis.call('ZADD', K.webhook_lanes(tenant), next_turn(), host) end
  if not redis.call('ZSCORE', K.webhook_ring(), tenant) then redis.call('ZADD', K.webhook_ring(), next_turn(), tenant) end
end

-- Puts a delivery into its lane, due at `at` (ms).
local function await_turn(id, tenant, host, at)
  redis.call('ZADD', K.webhook_lane(tenant, host), int(at), id)
  if at <= NOW then
    lane_due(tenant, host)
  else
    redis.call('ZADD', K.webhook_wake(), 'LT', int(at), tenant .. ' ' .. host)
  end
end

local DELIVERY = {'tenant_id', 'workspace_id', 'host', 'status', 'order', 'event_id', 'subject', 'endpoint_id', 'url', 'type', 'tries', 'lease',
  'store_bytes'}

-- A row of the ledger as a table; nil if there is none.
local function load_delivery(id)
  local values = redis.call('HMGET', K.delivery(id), unpack(DELIVERY))
  if not values[1] then return nil end
  local row = {}
  for i, name in ipairs(DELIVERY) do row[name] = values[i] or nil end
  return row
end

local function move_delivery(id, row, to)
  redis.call('ZREM', K.deliveries_in(row.tenant_id, row.status), id)
  redis.call('ZADD', K.deliveries_in(row.tenant_id, to), row.order, id)
  redis.call('HSET', K.delivery(id), 'status', to)
  row.status = to
end

-- Once all receivers of an event have its message, a reference takes the place of the snapshot: should one of them be sent it again, it is
-- made of the record (ledger.py). What a receiver does not have yet, or could not be given, needs its snapshot: the record may be gone.
local REFERENCE = {'webhook_type', 'webhook_at', 'webhook_seq', 'webhook_rows', 'tenant_id', 'workspace_id', 'job_id', 'batch_id', 'order'}
local function keep_reference(row)
  local key, flat = K.webhook_event(row.event_id), {'webhook_ref', '1', 'store_bytes', '300'}
  for _, id in ipairs(redis.call('ZRANGE', K.subject_deliveries(row.subject), 0, -1)) do
    local other = redis.call('HMGET', K.delivery(id), 'event_id', 'status')
    if other[1] == row.event_id and other[2] ~= 'delivered' then return end
  end
  local bytes, known = redis.call('HGET', key, 'store_bytes'), redis.call('HMGET', key, unpack(REFERENCE))
  if not known[1] then return end
  for i, name in ipairs(REFERENCE) do
    if known[i] then
      flat[#flat + 1] = name
      flat[#flat + 1] = known[i]
    end
  end
  redis.call('DEL', K.webhook_event(row.event_id))
  redis.call('HSET', K.webhook_event(row.event_id), unpack(flat))
  owe(row.tenant_id, 300 - (bytes or 0))
end

-- pending -> delivered or dead; the row stays in the ledger for `ttl_ms`.
local function end_delivery(id, row, to, error, ttl_ms)
  move_delivery(id, row, to)
  redis.call('HSET', K.delivery(id), 'ended_at', int(NOW), 'error', error)
  redis.call('HDEL', K.delivery(id), 'next_try_at', 'lease')
  redis.call('ZADD', K.deliveries_ended(), int(NOW + tonumber(ttl_ms)), id)
  if to == 'delivered' and row.type ~= 'endpoint.test' then keep_reference(row) end
end

-- Removes a row and its index entries; the event's snapshot goes with its last row.
local function drop_delivery(id, row)
  redis.call('ZREM', K.webhook_lane(row.tenant_id, row.host), id)
  if row.lease then redis.call('ZREM', K.webhook_leases(), row.lease) end
  redis.call('DEL', K.delivery(id), K.delivery_attempts(id))
  redis.call('ZREM', K.deliveries(row.tenant_id), id)
  redis.call('ZREM', K.deliveries_in(row.tenant_id, row.status), id)
  redis.call('ZREM', K.subject_deliveries(row.subject), id)
  redis.call('ZREM', K.deliveries_ended(), id)
  local given_back = tonumber(row.store_bytes or '0')
  if redis.call('HINCRBY', K.webhook_event(row.event_id), 'webhook_rows', -1) <= 0 then
    given_back = given_back + tonumber(redis.call('HGET', K.webhook_event(row.event_id), 'store_bytes') or '0')
    redis.call('DEL', K.webhook_event(row.event_id))
  end
  owe(row.tenant_id, -given_back)
end

-- Slow answers of hosts. A tenant's jobs may name hosts without number: of more than so many the one that was slow longest ago is forgotten.
local SLOW_HOSTS_MOST = 1000

local function forget_slow(tenant, host)
  redis.call('HDEL', K.webhook_health(), tenant .. ' ' .. host)
  redis.call('ZREM', K.webhook_slow(tenant), host)
end

local function note_slow(tenant, host)
  redis.call('HINCRBY', K.webhook_health(), tenant .. ' ' .. host, 1)
  redis.call('ZADD', K.webhook_slow(tenant), int(NOW), host)
  for _, oldest in ipairs(redis.call('ZRANGE', K.webhook_slow(tenant), 0, -SLOW_HOSTS_MOST - 1)) do forget_slow(tenant, oldest) end
end

local function wants(events, kind)
  if #events == 0 then return true end
  for _, event in ipairs(events) do
    if event == kind then return true end
  end
  return false
end

-- The enabled endpoints of a tenant, read once a script: {id, url, types}. `only`: just this one, whatever types it wants.
local endpoints_of = {}
local function endpoints(tenant, only)
  if endpoints_of[tenant] and not only then return endpoints_of[tenant] end
  local found = {}
  for _, id in ipairs(only and {only} or redis.call('ZRANGE', K.tenant_endpoints(tenant), 0, -1)) do
    local endpoint = redis.call('HMGET', K.endpoint(id), 'url', 'events', 'enabled')
    if endpoint[1] and endpoint[3] == '1' then found[#found + 1] = {id, endpoint[1], only and {} or cjson.decode(endpoint[2])} end
  end
  if not only then endpoints_of[tenant] = found end
  return found
end

-- The receivers of an event: {endpoint id, url} for each endpoint of the tenant that wants this type, {'', url} for the subject's own
-- webhook, and one that stands for the copies of its files (files/copies.py): what is delivered there is no message. A fourth
-- part tells it from the others of the same event.
local function targets_of(event)
  local found = {}
  if event.own then
    local own = cjson.decode(event.own)
    if wants(own.events, event.type) then found[1] = {'', own.url} end
  end
  if event.copy then found[#found + 1] = {'', 'gdrive://copies/', {}, 'copies'} end
  for _, endpoint in ipairs(endpoints(event.tenant, event.only)) do
    if wants(endpoint[3], event.type) then found[#found + 1] = endpoint end
  end
  return found
end

-- Lanes that this script has put into the ring: checked once, not for each row.
local put_in_ring = {}

-- Creates a row for each receiver. Called again for the same event it creates none: the id of a row, which is the `webhook-id`, follows
-- from the event and the receiver.
-- event: type ('job.completed'), tenant, workspace, subject (id of the job or batch), seed (no two events share it), source (key of the
-- hash that the payload will be made from; it is copied, since it may be gone when the last attempt is due), bytes (what that one was
-- charged) or fields (flat list), own (JSON {url, events} of the subject's own webhook) or nil, only (one endpoint, whatever types it
-- wants) or nil, copy (its files are to be copied, or removed).
-- Returns the ids of the rows.
local function outbox(event)
  local made = {}
  local targets = targets_of(event)
  if #targets == 0 then return made end
  local event_id = string.sub(redis.sha1hex(event.type .. '|' .. event.seed), 1, 32)
  local snapshot, owed = K.webhook_event(event_id), 0
  if redis.call('EXISTS', K.webhook_event(event_id)) == 0 then
    local key = event.source
    if key then
      redis.call('COPY', key, snapshot)
      -- No payload has them, and the copy may outlive the record.
      redis.call('HDEL', K.webhook_event(event_id), 'secret_params')
    end
    owed = 300 + (event.bytes or 0)
    redis.call('HSET', K.webhook_event(event_id), 'webhook_type', event.type, 'webhook_at', int(NOW), 'store_bytes', int(owed),
      unpack(event.fields or {}))
  end
  local order, rows = math.max(MICROS, tonumber(redis.call('GET', K.order()) or '0') + 1), {}
  for _, target in ipairs(targets) do
    local id = 'msg_' .. string.sub(redis.sha1hex(event_id .. '|' .. (target[4] or target[1])), 1, 32)
    if redis.call('HSETNX', K.delivery(id), 'delivery_id', id) == 1 then
      -- `https://Hooks.Example:8443/x?y` -> `hooks.example:8443`. The URL was checked when it was accepted.
      local host = string.lower(string.match(target[2], '^%a+://([^/?#]+)') or '?')
      local own, bytes = int(order + #made), 1000 + bytes_of(2 * #target[2])
      owed = owed + bytes
      redis.call('HSET', K.delivery(id), 'event_id', event_id, 'type', event.type, 'tenant_id', event.tenant, 'workspace_id', event.workspace,
        'subject', event.subject, 'endpoint_id', target[1], 'url', target[2], 'host', host, 'status', 'pending', 'tries', '0', 'order', own,
        'created_at', int(NOW), 'next_try_at', int(NOW), 'store_bytes', bytes)
      local lane = K.webhook_lane(event.tenant, host)
      redis.call('ZADD', lane, int(NOW), id)
      if not put_in_ring[lane] then lane_due(event.tenant, host) end
      put_in_ring[lane] = true
      made[#made + 1] = id
      rows[#rows + 1] = own
      rows[#rows + 1] = id
    end
  end
  spend(10 + 4 * #targets)
  if owed > 0 then owe(event.tenant, owed) end
  if not made[1] then return made end
  redis.call('SET', K.order(), int(order + #made - 1))
  redis.call('HINCRBY', K.webhook_event(event_id), 'webhook_rows', #made)
  for _, key in ipairs({K.deliveries(event.tenant), K.deliveries_in(event.tenant, 'pending'), K.subject_deliveries(event.subject)}) do
    redis.call('ZADD', key, unpack(rows))
  end
  return made
end

-- The end of a job: called by end_job, with the record as it ended and the number of the event in its log. What a run that did not complete
-- the job has copied goes again; of one that did, what is left to copy (job.copy).
local function outbox_job(id, job, to, number)
  local copied = to ~= 'completed' and job.fence and redis.call('HGET', K.job(id), 'copy_bytes')
  if copied then
    redis.call('HINCRBY', K.usage(job.tenant_id), 'drive_bytes', -tonumber(copied))
    redis.call('HDEL', K.job(id), 'copy_bytes')
    job.copy = true
  end
  local event = {type = 'job.' .. to, tenant = job.tenant_id, own = job.webhook, copy = job.copy}
  if #targets_of(event) == 0 then return end
  -- The log is no part of the record that is copied.
  local bytes = tonumber(job.store_bytes or '0') - 600
  if bytes > 0 then bytes = bytes - (redis.call('HGET', K.job(id), 'log_bytes') or 0) end
  event.workspace, event.subject, event.seed, event.source = job.workspace_id, id, job.order .. '|' .. id, K.job(id)
  event.bytes, event.fields = math.max(0, bytes), {'webhook_seq', int(number)}
  outbox(event)
end
