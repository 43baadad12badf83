-- Hints: the message that a worker is sent for a dispatched job. It is a template in which a few names are filled in.

-- Fills in @ID@ and the other names of a hint. Every value consists of safe characters, so the JSON stays valid. Plain finds: a pattern
-- would be tried at each of a thousand characters.
local function hint(id, job, fence, text)
  local values = {ID = id, FENCE = fence, TAG = id .. '.' .. fence, TENANT = job.tenant_id, WORKSPACE = job.workspace_id, PIPELINE = job.pipeline}
  local parts, from = {}, 1
  local open = string.find(text, '@', 1, true)
  while open do
    local close = string.find(text, '@', open + 1, true)
    if not close then break end
    local value = values[string.sub(text, open + 1, close - 1)]
    if value then
      parts[#parts + 1] = string.sub(text, from, open - 1)
      parts[#parts + 1] = value
      from = close + 1
      close = string.find(text, '@', from, true)
    end
    open = close
  end
  parts[#parts + 1] = string.sub(text, from)
  return table.concat(parts)
end

-- The broker's list for a class of the pool.
local function queue_of(class)
  local pool = string.gsub(POOL, '^:', '.')
  return class == '' and QUEUE .. pool or QUEUE .. pool .. '.' .. class
end

-- Removes a hint that nobody will claim from the broker's list: otherwise a tenant that cancels ten thousand jobs one by one would send
-- the workers through as many dead messages. The list is at most as long as there are free slots. A hint that a worker has already taken
-- is refused at the claim.
local function take_back(id, job)
  if TEMPLATE ~= '' then redis.call('LREM', queue_of(job.class or ''), 1, hint(id, job, job.fence, job.celery or TEMPLATE)) end
end
