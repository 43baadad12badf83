#!lua flags=no-writes
-- The position of a queued job, why it waits, and about how long.
--@args id
--@settings admits
--@reply reason position limit current eta pool parts*
-- Nothing: the job does not wait, or its record is damaged. position: this job and those of its tenant that start before it; other tenants count in the estimate
-- only. limit, current, eta (seconds until it should start) may be ''; of a job that waits for its parts the first two are how many there are, and
-- how many have ended. pool: in which it waits ('': `default`). parts: of such a job how many of them run, how many wait for a slot, why ('': none
-- waits), and their pool; of any other nothing.
return place_of(id, load(id))
