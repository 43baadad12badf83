-- How fast jobs end, as an average that forgets within a minute: the basis of Retry-After.

local PACE_MS = 60000

-- Time never counts as passing backwards. A rate that is not a number is forgotten: after such a step an earlier version wrote inf and
-- nan.
local function pace(rate, at)
  if not (rate >= 0 and rate < math.huge) then return 0 end
  return rate * math.exp(-math.max(0, NOW - at) / PACE_MS)
end

-- One more job of the cell has ended, and of the tenant. share: of the tenant, where it is known. Returns the fields of it that are to be
-- written.
local function ended_one_of(tenant, share)
  local known = redis.call('HMGET', K.pace(), 'rate', 'rate_at')
  redis.call('HSET', K.pace(), 'rate', pace(tonumber(known[1]) or 0, tonumber(known[2]) or 0) + 1000 / PACE_MS, 'rate_at', STAMP)
  if not (share and share.rate) then
    known = redis.call('HMGET', K.share(tenant), 'rate', 'rate_at')
    share = {rate = tonumber(known[1]) or 0, rate_at = tonumber(known[2]) or 0}
  end
  share.rate, share.rate_at = pace(share.rate, share.rate_at) + 1000 / PACE_MS, NOW
  return 'rate', share.rate, 'rate_at', STAMP
end

-- Of a tenant, or (nil) of all.
local function pace_of(tenant)
  if tenant then return pace(common_of(tenant).rate, common_of(tenant).rate_at) end
  local known = redis.call('HMGET', K.pace(), 'rate', 'rate_at')
  return pace(tonumber(known[1]) or 0, tonumber(known[2]) or 0)
end

-- Seconds until this many places in the queue should be free, 1 to 300.
local function retry_after(rate, n)
  if rate <= n / 300 then return 300 end
  return math.max(1, math.ceil(n / rate))
end
