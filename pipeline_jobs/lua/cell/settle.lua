#!lua flags=allow-oom
-- Serve those who wait for jobs that have ended: sent after a job came that depends on one that had ended badly before.
--@events
--@admits
--@names
--@reply hints
return {settle_and_admit()}
