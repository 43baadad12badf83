-- Idempotency keys: what a request with a key made is remembered for a day, which outlives what it made. Until then the tenant is charged
-- for it; `trim` gives the charge back.
local REMEMBERED_BYTES = 220
local DAY_MS = 86400000

-- The reply for an Idempotency-Key that was used before, or nil. `fingerprint`: of the request, in one form or in several, separated by
-- spaces: any of them may match, and the first is stored. made: what is known of the key, if that was read.
local function made_before(tenant, key, fingerprint, made)
  made = made or redis.call('GET', K.idempotency(tenant, key))
  if not made then return nil end
  local id, of = string.match(made, '^(%S*) (%S*)$')
  if not (of and string.find(' ' .. fingerprint .. ' ', ' ' .. of .. ' ', 1, true)) then return {'differs'} end
  -- The answer says that the job is on the disk, so WAITAOF needs a write of this connection to wait for, as in submit.
  redis.call('SET', K.idempotency(tenant, key), made, 'KEEPTTL')
  return {'same', id}
end

-- Returns what the tenant is to be charged for it, or nil and the reply if the key was used before.
local function remember_key(tenant, key, fingerprint, id)
  local made = redis.call('SET', K.idempotency(tenant, key), id .. ' ' .. string.match(fingerprint, '^%S*'), 'NX', 'GET', 'PX', DAY_MS)
  if made then return nil, made_before(tenant, key, fingerprint, made) end
  return redis.call('ZADD', K.remembered(tenant), NOW + DAY_MS, key) == 1 and REMEMBERED_BYTES or 0
end
