#!lua flags=allow-oom
-- A sender takes deliveries that are due and whose turn has come, and renews the leases of those it is sending. quick, slow: the maximum
-- number to take for quick and for slow hosts. tenant_cap, host_cap: the maximum number that is sent at once for a tenant, for a host of
-- a tenant. ttl_ms: of the ledger. renew: leases.
--@args quick:int slow:int lease_ms:int tenant_cap:int host_cap:int ttl_ms:int renew:list
-- Returns {{lease, id, type, event id, attempts so far, tenant, subject, endpoint or '', url, nonce, check, old nonce or '',
-- old check or ''}, ...}.
-- A lease is the text 'id fence tenant host slow': a sender that shows it holds it, until it ends. Sent again: deliveries that were taken
-- before wait for the end of their lease. After SLOW_AFTER slow answers in a row a host counts as slow: it is
-- sent less at once, by threads that are reserved for slow hosts.
local SLOW_AFTER = 3
local slow_cap = math.max(1, math.floor(host_cap / 2))

for _, lease in ipairs(renew) do redis.call('ZADD', K.webhook_leases(), 'XX', int(NOW + lease_ms), lease) end

-- It was given before the clock was set back.
shift(K.webhook_leases(), int(NOW + lease_ms), 0, lease_ms)

-- A sender died: its deliveries are due again, with the same id. This does not count as an attempt.
for _, lease in ipairs(redis.call('ZRANGEBYSCORE', K.webhook_leases(), '-inf', int(NOW), 'LIMIT', 0, 200)) do
  redis.call('ZREM', K.webhook_leases(), lease)
  local id, _, tenant, host = string.match(lease, '^(%S+) (%S+) (%S+) (%S+)')
  if redis.call('EXISTS', K.delivery(id)) == 1 then
    redis.call('HDEL', K.delivery(id), 'lease')
    count('webhook_deliveries', 'sender_lost')
    await_turn(id, tenant, host, NOW)
  end
end

for _, lane in ipairs(redis.call('ZRANGEBYSCORE', K.webhook_wake(), '-inf', int(NOW), 'LIMIT', 0, 200)) do
  redis.call('ZREM', K.webhook_wake(), lane)
  local tenant, host = string.match(lane, '^(%S+) (%S+)$')
  lane_due(tenant, host)
end

-- What is being sent, counted from the leases themselves: a counter could drift.
local by_tenant, by_lane = {}, {}
local function more(tenant, host)
  local lane = tenant .. ' ' .. host
  by_tenant[tenant] = (by_tenant[tenant] or 0) + 1
  by_lane[lane] = (by_lane[lane] or 0) + 1
end
for _, lease in ipairs(redis.call('ZRANGE', K.webhook_leases(), 0, -1)) do
  local _, _, tenant, host = string.match(lease, '^(%S+) (%S+) (%S+) (%S+)')
  more(tenant, host)
end

local taken, left = {}, {quick = quick, slow = slow}

-- The next due delivery of a lane, or nil: then the lane leaves the ring until its next one is due.
local function next_of(tenant, host)
  local id = redis.call('ZRANGEBYSCORE', K.webhook_lane(tenant, host), '-inf', int(NOW), 'LIMIT', 0, 1)[1]
  if id then return id end
  redis.call('ZREM', K.webhook_lanes(tenant), host)
  local later = redis.call('ZRANGE', K.webhook_lane(tenant, host), 0, 0, 'WITHSCORES')
  if later[1] then redis.call('ZADD', K.webhook_wake(), 'LT', later[2], tenant .. ' ' .. host) end
  if redis.call('EXISTS', K.webhook_lanes(tenant)) == 0 then redis.call('ZREM', K.webhook_ring(), tenant) end
end

-- Takes a delivery, unless its receiver no longer exists: then it is dead. Returns whether it was taken.
local function take(id, tenant, host, slow)
  redis.call('ZREM', K.webhook_lane(tenant, host), id)
  local row = load_delivery(id)
  if not row or row.status ~= 'pending' then return false end
  local key, url = K.webhook_secret(tenant), row.url
  if row.endpoint_id ~= '' then
    key = K.endpoint(row.endpoint_id)
    local endpoint = redis.call('HMGET', key, 'url', 'enabled')
    if not endpoint[1] or endpoint[2] ~= '1' then
      end_delivery(id, row, 'dead', endpoint[1] and 'endpoint_disabled' or 'endpoint_deleted', ttl_ms)
      count('webhook_deliveries', 'dead')
      spend(15)
      return false
    end
    url = endpoint[1]
  end
  local known = redis.call('HMGET', key, 'nonce', 'check', 'old_nonce', 'old_check', 'old_until')
  local old = known[5] and tonumber(known[5]) > NOW
  local fence = redis.call('HINCRBY', K.delivery(id), 'fence', 1)
  local lease = table.concat({id, int(fence), tenant, host, slow and '1' or '0'}, ' ')
  redis.call('ZADD', K.webhook_leases(), int(NOW + lease_ms), lease)
  redis.call('HSET', K.delivery(id), 'lease', lease)
  more(tenant, host)
  spend(12)
  taken[#taken + 1] = {
    lease, id, row.type, row.event_id, row.tries, tenant, row.subject, row.endpoint_id, url, known[1] or '', known[2] or '',
    old and known[3] or '', old and known[4] or '',
  }
  return true
end

-- Serves one host of a tenant. Returns whether there was one.
local function serve_tenant(tenant)
  for _, host in ipairs(redis.call('ZRANGE', K.webhook_lanes(tenant), 0, 99)) do
    local lane = tenant .. ' ' .. host
    spend(1)
    local slow = tonumber(redis.call('HGET', K.webhook_health(), lane) or '0') >= SLOW_AFTER
    local kind, cap = slow and 'slow' or 'quick', slow and slow_cap or host_cap
    if (by_lane[lane] or 0) < cap and left[kind] > 0 then
      local id, took = next_of(tenant, host), false
      -- A hundred thousand deliveries may wait for an endpoint that is gone: the rest has its turn in the next calls.
      while id and not took and not worked_enough() do
        took = take(id, tenant, host, slow)
        if not took then id = next_of(tenant, host) end
      end
      if took then
        left[kind] = left[kind] - 1
        redis.call('ZADD', K.webhook_lanes(tenant), next_turn(), host)
        return true
      end
    end
  end
  return false
end

local going = true
while going and not worked_enough() and left.quick + left.slow > 0 do
  going = false
  for _, tenant in ipairs(redis.call('ZRANGE', K.webhook_ring(), 0, 199)) do
    if left.quick + left.slow <= 0 or worked_enough() then break end
    spend(2)
    if (by_tenant[tenant] or 0) < tenant_cap and serve_tenant(tenant) then going = true end
    -- A tenant that cannot be served now goes to the back as well, so that many of them never stand before the others.
    redis.call('ZADD', K.webhook_ring(), 'XX', next_turn(), tenant)
  end
end
return taken
