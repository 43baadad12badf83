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
-- same as a flat list, bytes = what that takes or nil, deadline and wait = ms from now or nil, adopt = fence or nil}. Where the list has
-- `alike`, those are fields that all have beside their own.

-- Writes records, indexes and counters, and puts the jobs where they wait. charge: what the tenant owes for the call besides, or nil. The
-- calling script ends with the admission. Most indexes get the same members, so one list is made for all of them: that is what makes a
-- batch cheap.
local function accept(asked, charge)
  -- How many strings are in a JSON list of such; found without a copy of the text.
  local function number_of(list)
    local n, at = 0, -2
    while at do
      n, at = n + 1, string.find(list, '","', at + 3, true)
    end
    return n
  end
  local first = asked[1].job
  local tenant, workspace = first.tenant_id, first.workspace_id
  -- Orders are the time, unless an earlier call's are as high.
  local order = TIME[1] * 1000000 + TIME[2]
  local last = tonumber(redis.call('SET', K.order(), int(order + #asked - 1), 'GET') or '0')
  if last >= order then
    order = last + 1
    redis.call('SET', K.order(), int(last + #asked))
  end
  local now, members, by_pipeline, by_tag, by_need, ready, since = int(NOW), {}, {}, {}, {}, {}, {}
  local pipeline, pool, of_pipeline, of_lane, for_classes
  local untagged, tagged, owed, charges, alike = {}, 0, charge or 0, {}, asked.alike
  if alike then
    -- Written once and copied: of each job only its own fields are converted, and go to the server's log.
    local key = asked[1].key
    redis.call('HSET', key, 'status', 'queued', 'reason', 'fair_share', 'created_at', now, 'new_attempt', '1', 'events_cut', '1', unpack(alike))
    for i = 2, #asked do redis.call('COPY', key, asked[i].key) end
  end
  for i = 1, #asked do
    local new = asked[i]
    local id, job = new.id, new.job
    if job.pipeline ~= pipeline or pool ~= pool_of(job) then
      pipeline, pool = job.pipeline, pool_of(job)
      by_pipeline[pipeline], ready[pool] = by_pipeline[pipeline] or {}, ready[pool] or {}
      ready[pool][pipeline] = ready[pool][pipeline] or {}
      of_pipeline, of_lane, for_classes = by_pipeline[pipeline], ready[pool][pipeline], is_for_classes(pipeline)
    end
    local own = int(order + i - 1)
    job.status, job.order, job.created_at, job.reason = 'queued', own, now, 'fair_share'
    if new.adopt then
      job.reason = 'dispatched'
    elseif wait_for_others(new, by_need) then
      job.reason = 'dependency'
    elseif job.run_at and tonumber(job.run_at) > NOW then
      job.reason = 'scheduled'
      redis.call('ZADD', K.delayed(), job.run_at, id)
    else
      of_lane[#of_lane + 1] = -(job.priority or 0)
      of_lane[#of_lane + 1] = ready_member(id, job)
    end
    if for_classes and not job.schema then
      new.fields[#new.fields + 1] = 'schema'
      new.fields[#new.fields + 1] = '2'
    end
    local bytes, tags = 960 + (new.bytes or bytes_of(0, new.fields)), job.tags
    if new.needs then bytes = bytes + 200 * #new.needs end
    if tags then
      -- The jobs of a batch often have the same tags, and the same charge.
      charges[tags] = charges[tags] or 160 * number_of(tags)
      bytes = bytes + charges[tags]
    end
    charges[bytes] = charges[bytes] or int(bytes)
    owed = owed + bytes
    if alike then
      if job.reason ~= 'fair_share' then
        new.fields[#new.fields + 1] = 'reason'
        new.fields[#new.fields + 1] = job.reason
      end
      redis.call('HSET', new.key, 'job_id', id, 'order', own, 'store_bytes', charges[bytes], unpack(new.fields))
    else
      redis.call('HSET', new.key, 'job_id', id, 'status', 'queued', 'reason', job.reason, 'order', own, 'created_at', now,
        'new_attempt', '1', 'events_cut', '1', 'store_bytes', charges[bytes], unpack(new.fields))
    end
    if job.upload then use_upload(id, job) end
    members[2 * i - 1], members[2 * i] = own, id
    if job.reason == 'fair_share' or new.adopt then
      since[#since + 1] = now
      since[#since + 1] = id
    end
    of_pipeline[#of_pipeline + 1] = own
    of_pipeline[#of_pipeline + 1] = id
    if job.blobs then count_blobs(tenant, job.blobs, 1) end
    if job.tags and tagged >= TAGS_AT_ONCE then
      untagged[#untagged + 1] = id
    elseif job.tags then
      for _, tag in ipairs(cjson.decode(job.tags)) do
        local of_tag = by_tag[tag] or {}
        by_tag[tag] = of_tag
        tagged = tagged + 1
        of_tag[#of_tag + 1] = own
        of_tag[#of_tag + 1] = id
      end
    end
    if new.deadline then
      job.deadline_at = int(NOW + new.deadline)
      redis.call('HSET', K.job(id), 'deadline_at', job.deadline_at)
      redis.call('ZADD', K.deadlines(), job.deadline_at, id)
    end
    if new.wait then redis.call('ZADD', K.waits(), NOW + new.wait, id) end
  end
  add_all(K.status('queued'), members)
  add_all(K.tenant_status(tenant, 'queued'), members)
  add_all(K.ready_since(), since)
  add_all(K.workspace(tenant, workspace), members)
  if first.batch_id then add_all(K.batch_jobs(first.batch_id), members) end
  for name, flat in pairs(by_pipeline) do add_all(K.pipeline(tenant, name), flat) end
  for tag, flat in pairs(by_tag) do add_all(K.tag(tenant, tag), flat) end
  if untagged[1] then redis.call('RPUSH', K.untagged(), unpack(untagged)) end
  for of_pool, lanes in pairs(ready) do
    use_pool(of_pool)
    note_pool()
    for name, flat in pairs(lanes) do
      if flat[1] then
        add_all(K.ready(tenant, workspace, name), flat)
        -- A job behind others of its lane does not change who is eligible.
        if redis.call('ZADD', K.lanes(tenant, workspace), 0, name) == 1 then enter(tenant, workspace) end
      end
    end
  end
  use_pool('')
  add_dependents(by_need)
  tell_created(asked)
  if asked[1].adopt then
    read_once.fences[asked[1].id] = asked[1].adopt
    use_pool(pool_of(first))
    dispatched(asked[1].id, first, asked[1].adopt)
    use_pool('')
  end
  owe(tenant, owed)
  count_by(#asked, 'created', series_of(tenant, workspace))
  redis.call('ZINCRBY', K.tenants(), #asked, tenant)
  local day = K.usage_day(tenant, int(math.floor(NOW / 86400000)))
  if redis.call('HINCRBY', day, 'created', #asked) == #asked then redis.call('EXPIRE', day, 34560000) end
end
