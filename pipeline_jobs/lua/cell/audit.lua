#!lua flags=allow-oom
-- Write a row of the audit log, on a full server too: what was done must leave a trace. work: the row is about routine work.
--@args work:flag actor action target detail
--@once
-- Returns the row's id.
return record_audit(work, actor, action, target, detail)
