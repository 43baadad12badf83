#!lua
-- Make the job of a slot that waits, or of none (a run that was asked for by hand); or say why the slot is skipped.
-- KEYS: prefix
-- ARGV: id, revision, slot ms or '' (by hand), why it is to be skipped or '', job id, nonce of the job, TTL ms, ms after which to look again at a slot
--       that must wait, most queued jobs of a tenant, of all, deadline ms from now or '', longest wait for a start ms or '',
--       by hand: idempotency key or '', fingerprint of the request, who asks (as in submit) or '', how many jobs a second they may submit (0: any),
--       number of fields, field, value, ..., admission
-- Returns {'fired', created_at, order, hints, rates it was held against (see lib/rates)} | {'skipped', reason, '', hints} | {'waits', '', '', hints} (for the end of the schedule's running job)
--       | {'stale', '', '', {}} (it was changed) | {'gone', ...} (no such schedule, or the slot waits no more) | {'taken', ...} (another job has the id)
--       | {'refused', what submit returns, '', {}} (by hand only; also that the key has made its job). Sent again: a slot is 'gone', a run by hand the same 'fired'; one job.
local id, slot, why, job_id, nonce, ttl_ms = ARGV[1], ARGV[3], ARGV[4], ARGV[5], ARGV[6], ARGV[7]
local by_hand = slot == ''
local idempotency, fingerprint = ARGV[13], ARGV[14]
local schedule = load_schedule(id)
if not schedule or not (by_hand or redis.call('ZSCORE', K.schedule_slots(id), slot)) then return {'gone', '', '', {}} end
if schedule.revision ~= ARGV[2] then return {'stale', '', '', {}} end
local known = redis.call('HMGET', K.job(job_id), 'created_at', 'order', 'nonce')
if known[1] and known[3] ~= nonce then return {'taken', '', '', {}} end
if known[1] and by_hand then return {'fired', known[1], known[2], settle_and_admit(), {}} end
if known[1] then
  -- The server's clock was set back and the slot came again: it has its job.
  redis.call('ZREM', K.schedule_slots(id), slot)
  look_again(id, schedule, 0)
  return {'gone', '', '', {}}
end

local function settled(outcome, made)
  redis.call('ZREM', K.schedule_slots(id), slot)
  slots_done(id, schedule, outcome, slot, slot, 1, made)
  look_again(id, schedule, 0)
end
local function skipped(reason)
  settled(reason, '')
  return {'skipped', reason, '', settle_and_admit()}
end

if why ~= '' then return skipped(why) end
local live = live_jobs(id)
if not by_hand and schedule.overlap == 'cancel_running' and redis.call('ZRANGE', K.schedule_slots(id), -1, -1)[1] ~= slot then
  return skipped('superseded')
end
if not by_hand and #live > 0 then
  if schedule.overlap == 'skip' then return skipped('overlap') end
  local left = #live
  if schedule.overlap == 'cancel_running' then
    for _, one in ipairs(live) do
      ask_to_end(one[1], one[2], ttl_ms)
      if one[2].status == 'cancelled' then left = left - 1 end
    end
  end
  if left > 0 then
    look_again(id, schedule, tonumber(ARGV[8]))
    return {'waits', '', '', settle_and_admit()}
  end
end

local job, first, last = {}, 18, 17 + 2 * tonumber(ARGV[17])
for i = first, last, 2 do job[ARGV[i]] = ARGV[i + 1] end
local refused = idempotency ~= '' and made_before(schedule.tenant_id, idempotency, fingerprint)
  or no_room(schedule.tenant_id, 1, ARGV[9], ARGV[10], ARGV[15], tonumber(ARGV[16]))
if refused and by_hand then return {'refused', refused, '', {}} end
if refused then
  if refused[1] == 'rate' then return skipped('rate_limited') end
  return skipped(({tenant = 'queue_full', all = 'store_full'})[refused[2]] or refused[2] .. '_full')
end
local rates = take_tokens(1)
if idempotency ~= '' then remember_key(schedule.tenant_id, idempotency, fingerprint, job_id) end
accept({{id = job_id, key = K.job(job_id), job = job, fields = {'nonce', nonce, unpack(ARGV, first, last)}, deadline = tonumber(ARGV[11]), wait = tonumber(ARGV[12])}}, ttl_ms)
remember_job(id, job_id)
if by_hand then slots_done(id, schedule, 'manual', int(NOW), int(NOW), 1, job_id) else settled('fired', job_id) end
return {'fired', job.created_at, job.order, settle_and_admit(), rates}
