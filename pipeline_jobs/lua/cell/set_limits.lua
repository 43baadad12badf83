#!lua
-- Change a tenant's limits; they apply to its backlog in this very call. tenant: or '*', the defaults of all tenants that have no limits
-- of their own. changes: field, value or '' (removes it), ...
--@args tenant changes:pairs
--@settings admits
--@reply hints

-- A default may apply to every tenant that waits outside the ring.
local function let_in()
  local later = {}
  for _, other in ipairs(redis.call('SMEMBERS', K.waiting())) do
    if worked_enough() then
      -- The workers' beats let them in.
      later[#later + 1] = NOW
      later[#later + 1] = other
    else
      spend(8)
      enter_ring(other)
    end
  end
  add_all(K.parked(), later)
end

local limits = read_limits(redis.call('HGET', K.limits(), tenant) or '', {})
for i = 1, #changes, 2 do limits[changes[i]] = tonumber(changes[i + 1]) end
local kept = {}
for name, value in pairs(limits) do kept[#kept + 1] = name .. '=' .. string.format('%.17g', value) end
if kept[1] then
  redis.call('HSET', K.limits(), tenant, table.concat(kept, ';'))
else
  redis.call('HDEL', K.limits(), tenant)
end
if tenant ~= '*' then
  in_each_pool(function()
    redis.call('ZREM', K.parked(), tenant)
    enter_ring(tenant)
  end)
else
  in_each_pool(let_in)
end
return {admit()}
