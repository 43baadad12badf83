-- Memory has an owner. What a tenant's records take of the server is charged to it as they are written (`store_bytes` of its usage). Each
-- record has its charge in a field of its own, `store_bytes`, and gives it back as it goes: so the tenant's counter is the sum over its
-- records, whatever happens in which order, and whatever a charge is made of in another version.
--
-- Charges follow from lengths, since asking the server for each record (MEMORY USAGE) would cost more than some writes. Beside its texts a
-- job is charged for what scripts write into its record, for its places in indexes and for a short log; the numbers are measured
-- (tests/integration/test_memory.py). What has a maximum of its own is not charged: a tenant's feed, its share, its schedules.

-- What texts take, by their length or as a flat list. The server's allocator rounds up.
local function bytes_of(length, flat)
  for i = 1, flat and #flat or 0 do length = length + #flat[i] end
  return math.ceil(length * 1.1)
end

-- Charges a tenant, or gives back to it. id: of a job whose record has grown since it was charged. Returns that record's charge.
local function owe(tenant, bytes, id)
  -- What a worker of the version before took away without giving it back is given back twice in the end: nobody has less than nothing.
  -- Nothing given back is -0, which is no integer to the server.
  bytes = bytes + 0
  if redis.call('HINCRBY', K.usage(tenant), 'store_bytes', bytes) < 0 then redis.call('HSET', K.usage(tenant), 'store_bytes', 0) end
  return id and redis.call('HINCRBY', K.job(id), 'store_bytes', bytes)
end

-- Whether a tenant holds more of the server's memory than it may at this moment (guard.py; share: bytes, negative: any number).
local function over_share(tenant, share)
  return share >= 0 and tonumber(redis.call('HGET', K.usage(tenant), 'store_bytes') or '0') > share
end
