#!lua flags=allow-oom
-- Remove a schedule and its index entries. Jobs that it has created continue.
--@args id
--@once
-- Returns 1, or 0 if there is none.
local schedule = load_schedule(id)
if not schedule then return 0 end
redis.call('DEL', K.schedule(id), K.schedule_slots(id), K.schedule_jobs(id), K.schedule_log(id))
redis.call('ZREM', K.schedules_due(), id)
redis.call('ZREM', K.schedules(), id)
redis.call('ZREM', K.tenant_schedules(schedule.tenant_id), id)
redis.call('ZREM', K.workspace_schedules(schedule.tenant_id, schedule.workspace_id), id)
return 1
