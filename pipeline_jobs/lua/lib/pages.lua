-- Pages of jobs by filters: which sorted sets of order->id are read, how several are merged, and which of their jobs match.

-- Returns a function that gives the next id and its order, nil at the end. `highest` and `lowest` are as ZREVRANGEBYSCORE takes them.
local function newest_first(keys, highest, lowest, chunk)
  local sources, taken = {}, nil
  -- Moves to the next member of a source, if there is one.
  local function step(source)
    source.at = source.at + 2
    if source.at > source.n then
      if source.n < 2 * chunk then return false end
      local key = source.key
      source.flat = redis.call('ZREVRANGEBYSCORE', key, source.from, lowest, 'WITHSCORES', 'LIMIT', 0, chunk)
      source.at, source.n = 1, #source.flat
      if source.n == 0 then return false end
      source.from = '(' .. source.flat[source.n]
    end
    source.order = tonumber(source.flat[source.at + 1])
    return true
  end
  for _, key in ipairs(keys) do
    local source = {key = key, from = highest, at = 2 * chunk, n = 2 * chunk}
    if step(source) then sources[#sources + 1] = source end
  end
  return function()
    -- Not before the next one is asked for: it may be the first of a chunk that nobody needs.
    if taken and not step(sources[taken]) then table.remove(sources, taken) end
    taken = sources[1] and 1
    for i = 2, #sources do
      if sources[i].order > sources[taken].order then taken = i end
    end
    if not taken then return nil end
    local source = sources[taken]
    return source.flat[source.at], source.flat[source.at + 1]
  end
end

-- The keys to read, of KEYS from 2 on. `sizes` ('1,5') says how many sets each index is the union of. The index with the fewest members
-- is taken, for all matching jobs are in each of them. '': there is one index.
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

-- Where a text is looked for, besides a job's id. Of a result only its title is.
local SEARCHED = {'url', 'tags', 'error', 'metadata', 'batch_id', 'result'}

-- What a record must have: statuses (comma separated or ''), a tag or '', fields, each with its value, a text in lower case or '', and
-- how the JSON of its error names its code, or ''. nil: no condition. `bytes` counts what was searched for the text.
local function conditions(statuses, tag, fields, text, code)
  if statuses == '' and tag == '' and #fields == 0 and text == '' and code == '' then return nil end
  local needs = {fields = {'status', 'tenant_id'}, values = {}, bytes = 0}
  if tag ~= '' then needs.tag = tag end
  for word in string.gmatch(statuses, '[^,]+') do
    needs.statuses = needs.statuses or {}
    needs.statuses[word] = true
  end
  for i = 1, #fields, 2 do
    needs.fields[#needs.fields + 1], needs.values[#needs.values + 1] = fields[i], fields[i + 1]
  end
  if code ~= '' then
    needs.fields[#needs.fields + 1] = 'error_detail'
    needs.code, needs.code_at = code, #needs.fields
  end
  if text ~= '' then
    needs.text, needs.text_after = text, #needs.fields
    for _, name in ipairs(SEARCHED) do needs.fields[#needs.fields + 1] = name end
  end
  return needs
end

-- The title in a result's JSON, up to its first quotation mark; nil: there is none.
local function title_in(result)
  local _, at = string.find(result, '"title":"', 1, true)
  return at and string.sub(result, at + 1, (string.find(result, '"', at + 1, true) or 0) - 1)
end

-- Whether a text is in a job's id or in one of the fields that are searched. Letters beyond A to Z are compared as they are.
local function says(id, record, needs)
  if string.find(id, needs.text, 1, true) then return true end
  for i, name in ipairs(SEARCHED) do
    local value = record[needs.text_after + i]
    if value then
      needs.bytes = needs.bytes + #value
      if name == 'result' then value = title_in(value) end
      if value and string.find(string.lower(value), needs.text, 1, true) then return true end
    end
  end
  return false
end

-- Whether there is a record with this id that meets all conditions.
local function meets(id, needs)
  local record = redis.call('HMGET', K.job(id), unpack(needs.fields))
  if not record[1] or needs.statuses and not needs.statuses[record[1]] then return false end
  for i, value in ipairs(needs.values) do
    if record[i + 2] ~= value then return false end
  end
  if needs.code and not string.find(record[needs.code_at] or '', needs.code, 1, true) then return false end
  if needs.text and not says(id, record, needs) then return false end
  -- A record's tags are JSON: looking into the index of its tenant's tag is faster.
  return not needs.tag or redis.call('ZSCORE', K.tag(record[2], needs.tag), id)
end
