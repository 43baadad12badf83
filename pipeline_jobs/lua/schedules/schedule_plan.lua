#!lua
-- Say what becomes of the slots of a schedule that are due: some wait to be fired, some are skipped; and which slot is next.
-- KEYS: prefix
-- ARGV: id, revision, next slot until now ms, next slot from now on ms or '', most slots that may wait, number of slots to fire, slot ms, ...,
--       number of skipped ones, reason, the first of them ms, the last ms, admission
-- Returns 'ok' | 'stale' (somebody else has done it, or the schedule was changed): nothing is done.
local id, following, most, n = ARGV[1], ARGV[4], tonumber(ARGV[5]), tonumber(ARGV[6])
local schedule = load_schedule(id)
if not schedule or schedule.revision ~= ARGV[2] or schedule.next_run_at ~= ARGV[3] then return 'stale' end
local skipped, reason, first, last = tonumber(ARGV[7 + n]), ARGV[8 + n], ARGV[9 + n], ARGV[10 + n]
if skipped > 0 then slots_done(id, schedule, reason, first, last, skipped, '') end
for i = 7, 6 + n do
  if redis.call('ZCARD', K.schedule_slots(id)) < most then
    redis.call('ZADD', K.schedule_slots(id), ARGV[i], ARGV[i])
  else
    slots_done(id, schedule, 'overlap_queue_full', ARGV[i], ARGV[i], 1, '')
  end
end
redis.call('HSET', K.schedule(id), 'next_run_at', following)
schedule.next_run_at = following ~= '' and following or nil
look_again(id, schedule, 0)
return 'ok'
