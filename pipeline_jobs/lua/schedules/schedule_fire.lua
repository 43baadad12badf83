#!lua
-- Create the job of a waiting slot, or a job without a slot (a run that was asked for by hand); or record why the slot is skipped. why:
-- skip it, with this reason. poll: when to look again at a slot that must wait. `idempotency` to `sender`: only for a run by hand;
-- these and share as in submit.
--@args id revision slot:digits? why? job_id? nonce poll:ms deadline:ms? wait:ms?
--@args idempotency? fingerprint? sender? share:int fields:pairs
--@settings events admits names storage queue kept
--@reply 'fired' created_at order hints rates
--@reply 'skipped' reason hints
--@reply 'waits' hints
--@reply 'stale'
--@reply 'gone'
--@reply 'taken'
--@refuses
-- 'waits': for the end of the schedule's running job. 'stale': the schedule was changed. 'gone': there is no such schedule, or the slot
-- no longer waits. 'taken': another job has the id. Sent again: a slot is 'gone', a run by hand the same 'fired'; there is one job.
local by_hand = slot == ''
local schedule = load_schedule(id)
if not schedule or not (by_hand or redis.call('ZSCORE', K.schedule_slots(id), slot)) then return {'gone'} end
if schedule.revision ~= revision then return {'stale'} end
local known = redis.call('HMGET', K.job(job_id), 'created_at', 'order', 'nonce')
if known[1] and known[3] ~= nonce then return {'taken'} end
if known[1] and by_hand then
  -- As in submit: something for WAITAOF to wait for.
  redis.call('HSET', K.job(job_id), 'nonce', nonce)
  return {'fired', known[1], known[2], settle_and_admit(), ''}
end
if known[1] then
  -- The server's clock was set back and the slot came again: it has its job already.
  redis.call('ZREM', K.schedule_slots(id), slot)
  look_again(id, schedule, 0)
  return {'gone'}
end

local function settled(outcome, made)
  redis.call('ZREM', K.schedule_slots(id), slot)
  slots_done(id, schedule, outcome, slot, slot, 1, made)
  look_again(id, schedule, 0)
end
local function skipped(reason)
  settled(reason, '')
  return {'skipped', reason, settle_and_admit()}
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
      -- The slot waits for these jobs, too; the others are asked to end at the next look.
      if worked_enough() then break end
      ask_to_end(one[1], one[2])
      if one[2].status == 'cancelled' then left = left - 1 end
    end
  end
  if left > 0 then
    look_again(id, schedule, poll)
    return {'waits', settle_and_admit()}
  end
end

local job = {}
for i = 1, #fields, 2 do job[fields[i]] = fields[i + 1] end
local asked = {{id = job_id, key = K.job(job_id), job = job, fields = {'nonce', nonce, unpack(fields)}, deadline = deadline, wait = wait, anyway = not by_hand}}
local refused = idempotency ~= '' and made_before(schedule.tenant_id, idempotency, fingerprint) or bad_upload(asked)
  or no_room(schedule.tenant_id, 1, sender, share)
if refused and by_hand then return refused end
if refused then
  if refused[1] == 'rate' then return skipped('rate_limited') end
  return skipped(({tenant = 'queue_full', all = 'store_full'})[refused[2]] or refused[2] .. '_full')
end
local rates = take_tokens(1)
accept(asked, idempotency ~= '' and remember_key(schedule.tenant_id, idempotency, fingerprint, job_id))
remember_job(id, job_id)
if by_hand then slots_done(id, schedule, 'manual', int(NOW), int(NOW), 1, job_id) else settled('fired', job_id) end
return {'fired', job.created_at, job.order, settle_and_admit(), rates}
