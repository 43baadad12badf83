#!lua
-- Create or change a schedule. revision: the one that this call writes; before: the one that it changes ('': a new schedule). most: the
-- maximum number of schedules of the tenant. following: next slot in ms, '' (none) or '=' (unchanged).
--@args id revision before? most:int paused:flag following idempotency? fingerprint? fields:pairs
--@settings names
--@reply 'ok'
--@reply 'taken'
--@reply 'same' id
--@reply 'differs'
--@reply 'full'
--@reply 'unknown'
--@reply 'changed'
--@reply 'due'
-- 'taken': another schedule has the id. 'same', 'differs': of the Idempotency-Key, as in submit. 'full': the tenant has the maximum
-- number of schedules. 'changed': it has another revision. 'due': slots of it are due and must be planned first. Sent again: the same
-- 'ok'.
local known = load_schedule(id)
if known and known.revision == revision then return {'ok'} end
if before == '' then
  if known then return {'taken'} end
  local new = {}
  for i = 1, #fields, 2 do new[fields[i]] = fields[i + 1] end
  local tenant, workspace = new.tenant_id, new.workspace_id
  local made = idempotency ~= '' and made_before(tenant, idempotency, fingerprint)
  if made then return made end
  if redis.call('ZCARD', K.tenant_schedules(tenant)) >= most then return {'full'} end
  if idempotency ~= '' then
    owe(tenant, remember_key(tenant, idempotency, fingerprint, id))
    -- Cleanup asks the tenants that it knows.
    redis.call('ZINCRBY', K.tenants(), 0, tenant)
  end
  local order = math.max(MICROS, tonumber(redis.call('GET', K.order()) or '0') + 1)
  redis.call('SET', K.order(), int(order))
  redis.call('HSET', K.schedule(id), 'schedule_id', id, 'order', int(order), 'created_at', int(NOW))
  for _, key in ipairs({K.schedules(), K.tenant_schedules(tenant), K.workspace_schedules(tenant, workspace)}) do redis.call('ZADD', key, int(order), id) end
  -- `increase()` of the metrics counts the first slot that is fired only if the counter was zero before.
  local named_tenant, named_workspace = series_of(tenant, workspace)
  count_by(0, 'schedule_slots', named_tenant, named_workspace, 'fired')
else
  if not known then return {'unknown'} end
  if known.revision ~= before then return {'changed'} end
  if following ~= '=' and known.next_run_at and tonumber(known.next_run_at) <= NOW then return {'due'} end
end
redis.call('HSET', K.schedule(id), 'revision', revision, 'updated_at', int(NOW), 'paused', paused and '1' or '', unpack(fields))
if following ~= '=' then redis.call('HSET', K.schedule(id), 'next_run_at', following) end
local schedule = load_schedule(id)
if paused then
  local waiting = redis.call('ZRANGE', K.schedule_slots(id), 0, -1)
  if waiting[1] then slots_done(id, schedule, 'paused', waiting[1], waiting[#waiting], #waiting, '') end
  redis.call('DEL', K.schedule_slots(id))
end
look_again(id, schedule, 0)
return {'ok'}
