-- Pages of jobs by filters: which sorted sets of order->id are read, how several are read as one, and which of their jobs are wanted.

-- Returns a function that gives the next id and its order, nil at the end. `highest` and `lowest` are as ZREVRANGEBYSCORE takes them.
local function newest_first(keys, highest, lowest, chunk)
  local sources = {}
  for i, key in ipairs(keys) do sources[i] = {key = key, from = highest, more = true, at = 1, flat = {}} end
  local function head(source)
    if source.at > #source.flat and source.more then
      local key = source.key
      source.flat = redis.call('ZREVRANGEBYSCORE', key, source.from, lowest, 'WITHSCORES', 'LIMIT', 0, chunk)
      source.at, source.more = 1, #source.flat == 2 * chunk
      if source.more then source.from = '(' .. source.flat[#source.flat] end
    end
    return tonumber(source.flat[source.at + 1])
  end
  return function()
    local best, highest_order
    for _, source in ipairs(sources) do
      local order = head(source)
      if order and (not best or order > highest_order) then best, highest_order = source, order end
    end
    if not best then return nil end
    best.at = best.at + 2
    return best.flat[best.at - 2], best.flat[best.at - 1]
  end
end

-- The keys to read, of KEYS from 2 on. `sizes` ('1,5') says how many sets each index is the union of: the one with the fewest members is
-- taken, for all wanted jobs are in each of them. '': it is one index.
local function fewest(sizes)
  if sizes == '' then return {unpack(KEYS, 2)} end
  local at, best, least = 2, nil, nil
  for size in string.gmatch(sizes, '%d+') do
    local keys, members = {unpack(KEYS, at, at + size - 1)}, 0
    for _, key in ipairs(keys) do members = members + redis.call('ZCARD', key) end
    if not best or members < least then best, least = keys, members end
    at = at + size
  end
  return best
end

-- What a record must have, in ARGV from `at` on: statuses (comma separated or ''), a tag or '', how many fields, and each with its value.
-- nil: nothing.
local function conditions(at)
  local words, tag, n = ARGV[at], ARGV[at + 1], tonumber(ARGV[at + 2])
  if words == '' and tag == '' and n == 0 then return nil end
  local needs = {fields = {'status', 'tenant_id'}, values = {}}
  if tag ~= '' then needs.tag = tag end
  for word in string.gmatch(words, '[^,]+') do
    needs.statuses = needs.statuses or {}
    needs.statuses[word] = true
  end
  for i = 1, n do
    needs.fields[i + 2], needs.values[i] = ARGV[at + 1 + 2 * i], ARGV[at + 2 + 2 * i]
  end
  return needs
end

-- Whether there is a record with this id that has all of it.
local function meets(id, needs)
  local record = redis.call('HMGET', K.job(id), unpack(needs.fields))
  if not record[1] or needs.statuses and not needs.statuses[record[1]] then return false end
  for i, value in ipairs(needs.values) do
    if record[i + 2] ~= value then return false end
  end
  -- A record's tags are JSON: the index of its tenant's tag is quicker to ask.
  return not needs.tag or redis.call('ZSCORE', K.tag(record[2], needs.tag), id)
end
