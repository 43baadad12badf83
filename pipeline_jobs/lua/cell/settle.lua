#!lua flags=allow-oom
-- Serve those who wait for jobs that have ended: sent after a job came that depends on one that had ended badly before, and by maintenance for
-- what other scripts left.
--@events
--@admits
--@names
--@reply left hints
-- left: whether some are left (1 | 0): ask again.
local hints = settle_kept_and_admit()
return {redis.call('EXISTS', K.unsettled()), hints}
