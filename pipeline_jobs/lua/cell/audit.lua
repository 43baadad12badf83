#!lua flags=allow-oom
-- Write a row of the audit log, on a full server too: what was done must leave a trace. kind: `security`, or `work` for routine work.
-- tenant: whose row it is; `*`: the installation's.
--@args kind tenant actor action target detail
--@once
-- Returns the row's id.
return record_audit(kind, tenant, actor, action, target, detail)
