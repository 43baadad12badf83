#!lua flags=allow-oom
-- Write a row of the audit log, on a full server too: what was done must leave its trace..
-- work: it is of the daily work.
--@args work:flag actor action target detail
--@once
-- Returns the row's id.
return record_audit(work, actor, action, target, detail)
