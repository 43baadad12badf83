-- How jobs are accepted, one or many in a call: what refuses them, their records, indexes, counters and places in the queue.
-- A script whose header says `--@refuses` may give one of these replies:
--@reply 'same' id
--@reply 'differs'
--@reply 'dependency' places*
--@reply 'upload' places*
--@reply 'full' what retry_after
--@reply 'rate' whose rate retry_after_ms
-- 'same': the id of what this Idempotency-Key made before. 'differs': the key was used for another request. 'dependency': for each wrong
-- dependency the number of the job (from 0) and the place in its depends_on; the tenant has no job with this id. 'upload': for each wrong
-- upload the number of the job and 'unknown' | 'incomplete'. 'full': 'tenant' | 'all' | 'storage' | 'webhooks' | 'memory', and the
-- seconds after which to try again.
--
-- The jobs of a call belong to one tenant and one workspace. Each is {id, key = key of its record, job = its fields by name, fields = the
-- same as a flat list, from = where that begins or nil, bytes = what that takes or nil, deadline and wait = ms from now or nil, adopt = fence
-- or nil}. Where the list has `alike`, those are fields that all have beside their own, and `keys` are those of the records; `one_kind`: all are
-- of one pipeline and pool. Where it has `turn_of`, its first is in turn each of `n` jobs, which have these `ids`.

-- Returns the first of so many. Orders are the time, unless an earlier call's are as high.
local function take_orders(n)
  local last = tonumber(redis.call('SET', K.order(), int(MICROS + n - 1), 'GET') or '0')
  if last < MICROS then return MICROS end
  redis.call('SET', K.order(), int(last + n))
  return last + 1
end

-- Why a new job waits that does not simply wait for its turn, and where it is written to but for the lanes. by_need: see add_dependents.
local function first_reason(new, by_need)
  local job = new.job
  if new.adopt then return 'dispatched' end
  if wait_for_others(new, by_need) then return 'dependency' end
  if job.run_at and tonumber(job.run_at) > NOW then
    redis.call('ZADD', K.delayed(), job.run_at, new.id)
    return 'scheduled'
  end
  return 'fair_share'
end

-- What a record is charged for its tags: how many strings are in a JSON list of such is found without a copy of the text.
local function charge_of_tags(tags)
  local n, at = 0, -2
  while at do
    n, at = n + 1, string.find(tags, '","', at + 3, true)
  end
  return 160 * n
end

-- The lists of a pipeline's jobs of a pool: made when the first one comes.
local function lane_of(lanes, pool, pipeline)
  local name = pool .. '|' .. pipeline
  if not lanes[name] then lanes[name] = {pool = pool, pipeline = pipeline, ready = {}, at = 0, for_classes = is_for_classes(pipeline)} end
  return lanes[name]
end

-- Writes a new job's record: of a batch's the fields that all have are there.
local function write_record(new, order, now, reason, bytes, alike)
  local fields = new.fields
  if not alike then
    redis.call('HSET', new.key, 'job_id', new.id, 'status', 'queued', 'reason', reason, 'order', order, 'created_at', now,
      'new_attempt', '1', 'events_cut', '1', 'store_bytes', bytes, unpack(fields))
    return
  end
  if reason ~= 'fair_share' then
    fields[#fields + 1] = 'reason'
    fields[#fields + 1] = reason
  end
  if bytes ~= alike.bytes then
    fields[#fields + 1] = 'store_bytes'
    fields[#fields + 1] = bytes
  end
  redis.call('HSET', new.key, 'job_id', new.id, 'order', order, unpack(fields, new.from))
end

-- The times that a job was given.
local function set_times(new)
  if new.deadline then
    new.job.deadline_at = int(NOW + new.deadline)
    redis.call('HSET', new.key, 'deadline_at', new.job.deadline_at)
    redis.call('ZADD', K.deadlines(), new.job.deadline_at, new.id)
  end
  if new.wait then redis.call('ZADD', K.waits(), NOW + new.wait, new.id) end
end

-- What a record is charged.
local function charge_of(new, charges)
  local bytes, tags = 960 + (new.bytes or bytes_of(0, new.fields)), new.job.tags
  if new.needs then bytes = bytes + 200 * #new.needs end
  if tags then
    -- The jobs of a batch often have the same tags, and the same charge.
    charges[tags] = charges[tags] or charge_of_tags(tags)
    bytes = bytes + charges[tags]
  end
  return bytes
end

-- Notes the tags of a job for accept to write; of very many they are left to index_tags.
local function note_tags(found, id, order, tags)
  if found.n >= TAGS_AT_ONCE then
    found.left[#found.left + 1] = id
    return
  end
  for _, tag in ipairs(cjson.decode(tags)) do
    local of_tag = found.by_tag[tag] or {}
    found.by_tag[tag] = of_tag
    found.n = found.n + 1
    of_tag[#of_tag + 1] = order
    of_tag[#of_tag + 1] = id
  end
end

local function add_tags(tenant, found)
  for tag, flat in pairs(found.by_tag) do add_all(K.tag(tenant, tag), flat) end
  if found.left[1] then redis.call('RPUSH', K.untagged(), unpack(found.left)) end
end

-- Puts jobs into their lanes, and the lists of their pipelines. all: the members of that, if there is one lane.
local function fill_lanes(tenant, workspace, lanes, all)
  for _, lane in pairs(lanes) do
    add_all(K.pipeline(tenant, lane.pipeline), all or lane.members)
    use_pool(lane.pool)
    note_pool()
    if lane.ready[1] then
      add_all(K.ready(tenant, workspace, lane.pipeline), lane.ready)
      -- A job behind others of its lane does not change who is eligible.
      if redis.call('ZADD', K.lanes(tenant, workspace), 0, lane.pipeline) == 1 then enter(tenant, workspace) end
    end
  end
  use_pool('')
end

-- The workspaces that were found to have series of their own. A function knows them from one call to the next, in whatever store.
local NAMED_BEFORE = {'-'}

-- Counts new jobs in the series of their workspace. A count that was there before was written under a name that is kept for good: then
-- nobody looks that up. Of another store, or one that was emptied, it was not, and is taken back.
local function count_created(tenant, workspace, n)
  local own = tenant .. '|' .. workspace
  if NAMED_BEFORE[own] then
    if redis.call('HINCRBY', K.counters(), 'created|' .. own, n) > n then return end
    redis.call('HDEL', K.counters(), 'created|' .. own)
  end
  local named_tenant, named_workspace = series_of(tenant, workspace)
  NAMED_BEFORE[own] = named_tenant == tenant and named_workspace == workspace or nil
  redis.call('HINCRBY', K.counters(), 'created|' .. named_tenant .. '|' .. named_workspace, n)
end

-- Writes records, indexes and counters, and puts the jobs where they wait. charge: what the tenant owes for the call besides, or nil. The
-- calling script ends with the admission. Most indexes get the same members, so one list is made for all of them: that is what makes a
-- batch cheap. The last job comes first: the server looks for a place from the lowest score on.
local function accept(asked, charge)
  local first, n, alike = asked[1].job, asked.n or #asked, asked.alike
  local tenant, workspace, now = first.tenant_id, first.workspace_id, STAMP
  local order, members, since, lanes, by_need, charges = take_orders(n), {}, {}, {}, {}, {}
  local owed, one_kind, placed, waiting = charge or 0, n == 1 or asked.one_kind, 0, 0
  local tags, lane
  if alike then
    -- Written once and copied: of each job only its own fields are converted, and go to the server's log. What each has of its own is first:
    -- the server finds it at once, and writes it where it is.
    local key = asked[1].key
    alike.bytes = charge_of(asked[1], charges)
    redis.call('HSET', key, 'job_id', asked[1].id, 'order', int(order), 'status', 'queued', 'reason', 'fair_share', 'created_at', now, 'new_attempt', '1', 'events_cut', '1', 'store_bytes',
      alike.bytes, unpack(alike))
    for i = 2, n do redis.call('COPY', key, asked.keys[i]) end
  end
  for i = n, 1, -1 do
    local new = asked.turn_of and asked.turn_of(i) or asked[i]
    local id, job = new.id, new.job
    if not lane or not one_kind and (job.pipeline ~= lane.pipeline or pool_of(job) ~= lane.pool) then
      lane = lane_of(lanes, pool_of(job), job.pipeline)
    end
    local own = int(order + i - 1)
    local reason = (new.adopt or new.needs or job.run_at) and first_reason(new, by_need) or 'fair_share'
    job.order = own
    if n == 1 then job.status, job.created_at, job.reason = 'queued', now, reason end
    if reason == 'fair_share' then
      local ready, priority, at = lane.ready, job.priority, lane.at + 2
      ready[at - 1], ready[at], lane.at = priority and -priority or 0, ready_member(id, job), at
    end
    if lane.for_classes and not job.schema then
      new.fields[#new.fields + 1] = 'schema'
      new.fields[#new.fields + 1] = '2'
    end
    local bytes = charge_of(new, charges)
    owed = owed + bytes
    write_record(new, own, now, reason, bytes, alike)
    if job.upload then use_upload(id, job) end
    placed = placed + 2
    members[placed - 1], members[placed] = own, id
    if reason == 'fair_share' or new.adopt then
      waiting = waiting + 2
      since[waiting - 1], since[waiting] = now, id
    end
    if not one_kind then
      lane.members = lane.members or {}
      lane.members[#lane.members + 1] = own
      lane.members[#lane.members + 1] = id
    end
    if job.blobs then count_blobs(tenant, job.blobs, 1) end
    if job.tags then
      tags = tags or {n = 0, by_tag = {}, left = {}}
      note_tags(tags, id, own, job.tags)
    end
    if new.deadline or new.wait then set_times(new) end
  end
  add_all(K.status('queued'), members)
  add_all(K.tenant_status(tenant, 'queued'), members)
  add_all(K.ready_since(), since)
  add_all(K.workspace(tenant, workspace), members)
  -- Copied within the server: neither the call nor the server's log has the members once more. The last one first here, too.
  if first.batch_id then
    redis.call('ZRANGESTORE', K.batch_jobs(first.batch_id), K.tenant_status(tenant, 'queued'), int(order + n - 1), int(order), 'BYSCORE', 'REV')
  end
  if tags then add_tags(tenant, tags) end
  fill_lanes(tenant, workspace, lanes, one_kind and members)
  add_dependents(by_need)
  tell_created(asked)
  if asked[1].adopt then
    read_once.fences[asked[1].id] = asked[1].adopt
    use_pool(pool_of(first))
    dispatched(asked[1].id, first, asked[1].adopt)
    use_pool('')
  end
  owe(tenant, owed)
  count_created(tenant, workspace, n)
  local day = K.usage_day(tenant, math.floor(NOW / 86400000))
  local jobs = redis.call('HINCRBY', day, 'created', n)
  if jobs == n then redis.call('EXPIRE', day, 34560000) end
  -- The figure of all days only says which tenants are the largest: of a day's jobs it is written by sixteens, and of the first by doubles.
  -- Whoever has a job is among the tenants from that one on.
  local function in_figure(told)
    if told >= 16 then return told - told % 16 end
    return told >= 8 and 8 or told >= 4 and 4 or math.min(told, 2)
  end
  local more = in_figure(jobs) - in_figure(jobs - n)
  if more > 0 then redis.call('ZINCRBY', K.tenants(), more, tenant) end
end

-- The reply to a submit, which is one text where a job waits for its turn: most are such.
local function accepted(created_at, order, reason, fence, deadline_at, rates, hints)
  if reason == 'fair_share' and fence == '0' and deadline_at == '' and #hints == 0 then return 'waits ' .. created_at .. ' ' .. order .. ' ' .. rates end
  return {'ok', created_at, order, reason, fence, deadline_at, rates, hints}
end
