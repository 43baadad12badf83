#!lua flags=allow-oom
-- Serve the dependents of jobs that have ended. Sent after a job was submitted whose dependency had failed before, and by maintenance for
-- what other scripts left over. Also writes the tags of jobs of large batches, which can be found by tag from then on.
--@settings events admits names kept
--@reply waiting untagged hints
-- waiting, untagged: 1 if some are left (send it again), else 0.
local hints = settle_kept_and_admit()
return {redis.call('EXISTS', K.unsettled()), redis.call('EXISTS', K.untagged()), hints}
