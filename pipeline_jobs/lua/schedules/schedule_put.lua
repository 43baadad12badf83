#!lua
-- Make a schedule, or change one.
-- KEYS: prefix
-- ARGV: id, revision that this call makes, revision that it changes ('': a new schedule), most schedules of the tenant, paused ('1' or ''),
--       next slot ms, '' (none) or '=' (as it is), of a new one: idempotency key or '', fingerprint of the request,
--       number of fields, field, value, ..., admission
-- Returns {'ok'} | {'taken'} (another schedule has the id) | {'same', id of the schedule that this key made} | {'differs'} (the key made one of
--       another request) | {'full'} (the tenant has as many as it may) | {'unknown'} | {'changed'} (it has another revision)
--       | {'due'} (slots of it are due: say first what becomes of them).
-- Sent again: the same 'ok'.
local id, revision, before, paused, following = ARGV[1], ARGV[2], ARGV[3], ARGV[5], ARGV[6]
local idempotency, fingerprint = ARGV[7], ARGV[8]
local first, last = 10, 9 + 2 * tonumber(ARGV[9])
local known = load_schedule(id)
if known and known.revision == revision then return {'ok'} end
if before == '' then
  if known then return {'taken'} end
  local fields = {}
  for i = first, last, 2 do fields[ARGV[i]] = ARGV[i + 1] end
  local tenant, workspace = fields.tenant_id, fields.workspace_id
  local made = idempotency ~= '' and made_before(tenant, idempotency, fingerprint)
  if made then return made end
  if redis.call('ZCARD', K.tenant_schedules(tenant)) >= tonumber(ARGV[4]) then return {'full'} end
  if idempotency ~= '' then remember_key(tenant, idempotency, fingerprint, id) end
  local order = math.max(TIME[1] * 1000000 + TIME[2], tonumber(redis.call('GET', K.order()) or '0') + 1)
  redis.call('SET', K.order(), int(order))
  redis.call('HSET', K.schedule(id), 'schedule_id', id, 'order', int(order), 'created_at', int(NOW))
  for _, key in ipairs({K.schedules(), K.tenant_schedules(tenant), K.workspace_schedules(tenant, workspace)}) do redis.call('ZADD', key, int(order), id) end
else
  if not known then return {'unknown'} end
  if known.revision ~= before then return {'changed'} end
  if following ~= '=' and known.next_run_at and tonumber(known.next_run_at) <= NOW then return {'due'} end
end
redis.call('HSET', K.schedule(id), 'revision', revision, 'updated_at', int(NOW), 'paused', paused, unpack(ARGV, first, last))
if following ~= '=' then redis.call('HSET', K.schedule(id), 'next_run_at', following) end
local schedule = load_schedule(id)
if paused == '1' then
  local waiting = redis.call('ZRANGE', K.schedule_slots(id), 0, -1)
  if waiting[1] then slots_done(id, schedule, 'paused', waiting[1], waiting[#waiting], #waiting, '') end
  redis.call('DEL', K.schedule_slots(id))
end
look_again(id, schedule, 0)
return {'ok'}
