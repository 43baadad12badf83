-- How fast jobs end, as a mean that forgets within a minute: what an honest Retry-After is made of.

local PACE_MS = 60000

-- No time passes backwards; a rate that is no number (an earlier version wrote inf and nan after such a step) is forgotten.
local function pace(rate, at)
  if not (rate >= 0 and rate < math.huge) then return 0 end
  return rate * math.exp(-math.max(0, NOW - at) / PACE_MS)
end

-- One more of the cell's has ended.
local function ended_one()
  local known = redis.call('HMGET', K.pace(), 'rate', 'rate_at')
  redis.call('HSET', K.pace(), 'rate', pace(tonumber(known[1]) or 0, tonumber(known[2]) or 0) + 1000 / PACE_MS, 'rate_at', int(NOW))
end

-- One more of a tenant's has ended. Returns the fields of its share that are to be written.
local function ended_one_of(share)
  share.rate, share.rate_at = pace(share.rate, share.rate_at) + 1000 / PACE_MS, NOW
  return 'rate', share.rate, 'rate_at', int(NOW)
end

local function pace_of(tenant)
  local share = share_of(tenant)
  return pace(share.rate, share.rate_at)
end

local function pace_of_all()
  local known = redis.call('HMGET', K.pace(), 'rate', 'rate_at')
  return pace(tonumber(known[1]) or 0, tonumber(known[2]) or 0)
end

-- Seconds until so many places in the queue should be free, 1 to 300.
local function retry_after(rate, n)
  if rate <= n / 300 then return 300 end
  return math.max(1, math.ceil(n / rate))
end
