-- Reads several sorted sets of order->id as one, newest first.

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

-- Whether a record may be on the page: {status, tenant, workspace} of it; '' and nil let all pass.
local function wanted(record, statuses, tenant, workspace)
  return record[1] and (not statuses or statuses[record[1]]) and (tenant == '' or record[2] == tenant) and (workspace == '' or record[3] == workspace)
end

-- 'queued,running' as a set; nil for ''.
local function set_of(words)
  local found
  for word in string.gmatch(words, '[^,]+') do
    found = found or {}
    found[word] = true
  end
  return found
end
