#!lua
-- Decide the slots of a schedule that are due: some wait to be fired (`slots`), some are skipped; and set the next slot. now, following:
-- the next slot until this call and after it, in ms. most: the maximum number of slots that wait. first, last: of the skipped slots.
--@args id revision now:digits following:digits? most:int skipped:int reason first:digits? last:digits? slots:list
--@settings names
-- Returns 'ok' | 'stale' (another process has done it, or the schedule was changed): nothing is done.
local schedule = load_schedule(id)
if not schedule or schedule.revision ~= revision or schedule.next_run_at ~= now then return 'stale' end
if skipped > 0 then slots_done(id, schedule, reason, first, last, skipped, '') end
for _, slot in ipairs(slots) do
  if redis.call('ZCARD', K.schedule_slots(id)) < most then
    redis.call('ZADD', K.schedule_slots(id), slot, slot)
  else
    slots_done(id, schedule, 'overlap_queue_full', slot, slot, 1, '')
  end
end
redis.call('HSET', K.schedule(id), 'next_run_at', following)
schedule.next_run_at = following ~= '' and following or nil
look_again(id, schedule, 0)
return 'ok'
