-- Hints: what a worker is sent for a dispatched job. The message is ready but for a few names.

-- Fills @ID@ and its like in a hint; every value is made of safe characters, so the JSON stays JSON. Plain finds: a pattern would be tried at
-- each of a thousand characters.
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

-- The broker's list for a class.
local function queue_of(class) return class == '' and QUEUE or QUEUE .. '.' .. class end

-- A hint that nobody will claim is taken out of the broker's list again: a tenant that cancels ten thousand jobs one by one would else send
-- the workers through as many dead messages. The list is as short as there are free slots. One that a worker has in its hand is refused there.
local function take_back(id, job)
  if TEMPLATE ~= '' then redis.call('LREM', queue_of(job.class or ''), 1, hint(id, job, job.fence, job.celery or TEMPLATE)) end
end
