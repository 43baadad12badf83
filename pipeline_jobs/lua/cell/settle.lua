#!lua flags=allow-oom
-- Serve those who wait for jobs that have ended: sent after a job came that depends on one that had ended badly before, and by maintenance for
-- what other scripts left. Jobs of large batches are found by their tags from then on.
--@settings events admits names kept
--@reply waiting untagged hints
-- waiting, untagged: whether some are left (1 | 0): ask again.
local hints = settle_kept_and_admit()
return {redis.call('EXISTS', K.unsettled()), redis.call('EXISTS', K.untagged()), hints}
