#!lua flags=allow-oom
-- Remove the rows of kept folders whose time has come; their files go to the trash.
--@args limit:int
-- Returns how many it removed; fewer than the limit means there are no more.
local ids = redis.call('ZRANGEBYSCORE', K.kept_until(), '-inf', int(NOW), 'LIMIT', 0, limit)
for _, id in ipairs(ids) do drop_folder(id) end
return #ids
