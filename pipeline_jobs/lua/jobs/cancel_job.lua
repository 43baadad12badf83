#!lua flags=allow-oom
-- Ask for a job's end. Durable: it is a field of the record.
--@args id ttl_ms:int
--@events
--@admits
--@names
--@reply status hints
-- status: afterwards, or 'unknown'. A queued job ends in this call; a running one when its worker has stopped it; an ended one is left alone.
local job = load(id)
if not job then return {'unknown', {}} end
ask_to_end(id, job, ttl_ms)
return {job.status, settle_and_admit()}
