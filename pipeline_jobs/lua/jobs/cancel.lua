#!lua flags=allow-oom
-- Ask for a job's end. Durable: it is a field of the record.
-- KEYS: prefix
-- ARGV: id, TTL ms, admission
-- Returns {'unknown', {}} | {status afterwards, hints}. A queued job ends in this call; a running one when its worker has stopped it; an ended one is left alone.
local id, ttl_ms = ARGV[1], ARGV[2]
local job = load(id)
if not job then return {'unknown', {}} end
ask_to_end(id, job, ttl_ms)
return {job.status, settle_and_admit()}
