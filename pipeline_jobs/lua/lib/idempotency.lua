-- Idempotency keys: what a key made before, kept for a day.

-- Reply for an Idempotency-Key that was used before, or nil. `fingerprint`: of its request, in one form or, separated by a space, in several:
-- any of them is good, the first one is remembered.
local function made_before(tenant, key, fingerprint)
  local made = redis.call('GET', K.idempotency(tenant, key))
  if not made then return nil end
  local id, of = string.match(made, '^(%S*) (%S*)$')
  if not (of and string.find(' ' .. fingerprint .. ' ', ' ' .. of .. ' ', 1, true)) then return {'differs'} end
  -- Its answer says that the job is on the disk: as in submit, something to wait for.
  redis.call('SET', K.idempotency(tenant, key), made, 'KEEPTTL')
  return {'same', id}
end

local function remember_key(tenant, key, fingerprint, id)
  redis.call('SET', K.idempotency(tenant, key), id .. ' ' .. string.match(fingerprint, '^%S*'), 'EX', 86400)
end
