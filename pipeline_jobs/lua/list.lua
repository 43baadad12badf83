#!lua flags=no-writes
-- A page of jobs, newest first, in one call.
-- KEYS: prefix, index (a zset of order->id)
-- ARGV: highest order (exclusive, '(' in front, or '+inf'), lowest created_at ms or '-inf', most jobs, most records to look at,
--       statuses (comma separated or ''), tenant or '', workspace or '', pipeline or '', tag as JSON or ''
-- Returns {next order or '', {field, value, ...}, ...}. `next` is where the following page begins.
local highest, lowest, limit, budget = ARGV[1], ARGV[2], tonumber(ARGV[3]), tonumber(ARGV[4])
local tenant, workspace, pipeline, tag = ARGV[6], ARGV[7], ARGV[8], ARGV[9]
local wanted
for status in string.gmatch(ARGV[5], '[^,]+') do
  wanted = wanted or {}
  wanted[status] = true
end
-- Tags are kept as a JSON list of strings. Inside a string a quote is escaped: what follows `[` or `,` and a bare quote is a whole tag.
local function tagged(tags) return tags and (string.find(tags, '[' .. tag, 1, true) or string.find(tags, ',' .. tag, 1, true)) end
local function fits(v)
  return v[1] and (not wanted or wanted[v[1]]) and (tenant == '' or v[2] == tenant) and (workspace == '' or v[3] == workspace)
    and (pipeline == '' or v[4] == pipeline) and (tag == '' or tagged(v[5]))
end

local page, last = {''}, nil
while #page <= limit and budget > 0 do
  local chunk = redis.call('ZREVRANGEBYSCORE', KEYS[2], highest, lowest, 'WITHSCORES', 'LIMIT', 0, math.min(budget, limit + 1))
  if #chunk == 0 then return page end
  for i = 1, #chunk, 2 do
    local id, order = chunk[i], chunk[i + 1]
    if #page > limit then
      page[1] = last
      return page
    end
    if fits(redis.call('HMGET', K.job(id), 'status', 'tenant_id', 'workspace_id', 'pipeline', 'tags')) then
      page[#page + 1] = redis.call('HGETALL', K.job(id))
    end
    last = order
    budget = budget - 1
  end
  highest = '(' .. last
end
page[1] = last or ''
return page
