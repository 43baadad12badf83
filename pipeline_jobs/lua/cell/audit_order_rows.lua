#!lua
-- Put rows of a stream of the audit log in `audit_order`. after: of which row on, `-` at first.
--@args kind tenant after limit:int
-- Returns where the next ones begin; empty: there are no more.
local key = audit_stream(kind, tenant)
local rows = redis.call('XRANGE', key, after, '+', 'COUNT', limit)
for _, row in ipairs(rows) do redis.call('ZADD', K.audit_order(), 0, audit_place(row[1], kind, tenant)) end
return #rows < limit and '' or '(' .. rows[#rows][1]
