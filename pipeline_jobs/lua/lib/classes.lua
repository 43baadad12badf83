-- Classes of workers: who can run what. The workers of a class know the same pipelines and the same schema of records, so each of them
-- may take a hint that was meant for another. What a class knows is kept as text: `schema;pipeline;pipeline;`. Workers of earlier
-- versions announce no class: theirs is '', and its text lists what had completed before the first worker came that does announce one
-- (docs/decisions/0009).
--
-- All of this is of one pool. While all its live workers are of one class a hint goes to the queue `jobs`, else to `jobs.{class}`; of the
-- pool P to `jobs.P` and `jobs.P.{class}`.

local function knows(text, pipeline) return string.find(text, ';' .. pipeline .. ';', 1, true) ~= nil end

-- The text of the class, if all live workers are of one; '*': there are several, or a worker has no slots; '': no worker announces what it
-- knows, so each may be sent anything.
local function fleet()
  here.fleet = here.fleet or redis.call('GET', K.fleet()) or ''
  return here.fleet
end

-- The first of some classes that has a free slot and knows the pipeline and the schema.
local function first_of(some, pipeline, schema)
  for _, class in ipairs(some) do
    if class.free > 0 and class.schema >= schema and knows(class.text, pipeline) then return class end
  end
end

-- The classes of the live workers, where there are several: name, text, schema, slots, and `free`, the number of slots that neither a run
-- nor a hint uses. The class that knows the fewest pipelines comes first, so that slots that can be used for more stay free for that.
-- Each script counts them anew, so that no count can drift.
local function classes()
  if here.classes then return here.classes end
  local class_of, texts, running, named = fields_of(K.class_of()), fields_of(K.classes()), fields_of(K.running()), {}
  local found = {}
  here.classes = found
  for worker, slots in pairs(fields_of(K.slots())) do
    local name = class_of[worker] or ''
    if not named[name] then
      local text = texts[name] or '1;'
      named[name] = {name = name, text = text, schema = tonumber(string.match(text, '^%d+')), slots = 0, free = 0}
      found[#found + 1] = named[name]
    end
    -- A worker with more runs than slots (it shrinks, or stops) does not use up the slots of others.
    named[name].slots = named[name].slots + slots
    named[name].free = named[name].free + math.max(0, slots - (running[worker] or 0))
  end
  table.sort(found, function(a, b)
    if #a.text ~= #b.text then return #a.text < #b.text end
    return a.name < b.name
  end)
  for _, id in ipairs(redis.call('ZRANGE', K.hints(), 0, -1)) do
    local sent = redis.call('HMGET', K.job(id), 'class', 'pipeline')
    local class = named[sent[1] or '']
    -- The hint went to `jobs` while there was one class only: any worker that knows the pipeline may have it by now.
    if (sent[1] or '') == '' and not class then class = first_of(found, sent[2] or '', 0) end
    if class then class.free = class.free - 1 end
  end
  return found
end

-- The slots of the classes that know a pipeline; which: 'slots' (all) or 'free'. Where there is one class the result is unlimited or
-- none, since the admission counts its slots.
local function slots_for(pipeline, which)
  if fleet() ~= '*' then return (fleet() == '' or knows(fleet(), pipeline)) and 1e9 or 0 end
  local n = 0
  for _, class in ipairs(classes()) do
    if knows(class.text, pipeline) then n = n + math.max(0, class[which]) end
  end
  return n
end

-- How many more jobs of a pipeline may start, by its cap and by the classes' free slots.
local function room_of(pipeline)
  local pipe, free = pipe_of(pipeline), slots_for(pipeline, 'free')
  return pipe.cap and math.min(pipe.cap - pipe.n - pipe.others, free) or free
end

-- Takes a slot for a job. Returns the name of the class that has it ('': the hint goes to `jobs`), or nil: no class with a free slot
-- knows the job's schema.
local function take_slot(pipeline, schema)
  if fleet() ~= '*' then return '' end
  local class = first_of(classes(), pipeline, schema)
  if not class then return nil end
  class.free = class.free - 1
  return class.name
end

-- The schema of a job that was parked: workers that know of no waits have at most 2. (Those that know of no pools have at most 3, those that
-- know of no parts 4: `pipelines.py` writes it.)
local FOR_WAITS = '3'

-- Workers that announce no class dispatch by their own scripts and take whatever waits. A job that they may not know is stored with
-- schema 2, which they refuse and leave to others.
local function is_for_classes(pipeline)
  if read_once.before == nil then read_once.before = redis.call('HGET', K.classes(), '') end
  return read_once.before and not knows(read_once.before, pipeline)
end

-- Finds out which classes the fleet has. Entries of workers that are gone are removed here, because earlier versions do not remove them.
local function note_fleet()
  local live, said = {}, 0
  for worker, class in pairs(fields_of(K.class_of())) do
    if redis.call('ZSCORE', K.workers(), worker) then
      live[class], said = true, said + 1
    else
      redis.call('HDEL', K.class_of(), worker)
    end
  end
  for class in pairs(fields_of(K.classes())) do
    if class ~= '' and not live[class] then redis.call('HDEL', K.classes(), class) end
  end
  if redis.call('ZCARD', K.workers()) > said then live[''] = true end
  local first, several = next(live), false
  if first then several = next(live, first) ~= nil end
  if first and first ~= '' then
    -- What a worker without slots (a paused one) runs still takes none of another's: so its slots are counted by worker as well.
    for _, slots in ipairs(redis.call('HVALS', K.slots())) do several = several or slots == '0' end
  end
  if several then
    here.fleet = '*'
  else
    here.fleet = first and first ~= '' and redis.call('HGET', K.classes(), first) or ''
  end
  here.classes, here.row = nil, nil
  redis.call('SET', K.fleet(), here.fleet)
end

-- A live worker announces its class, or none. began: it has slots and had none before, or the other way round.
local function note_class(worker, class, text, began)
  local before = redis.call('HGET', K.class_of(), worker) or ''
  if class ~= '' and class ~= before then
    if redis.call('HEXISTS', K.classes(), '') == 0 then
      local completed = '1;'
      for _, field in ipairs(redis.call('HKEYS', K.pipelines())) do
        local pipeline = string.match(field, '^ms:(.*)$')
        if pipeline then completed = completed .. pipeline .. ';' end
      end
      redis.call('HSET', K.classes(), '', completed)
    end
    redis.call('HSET', K.class_of(), worker, class)
    redis.call('HSET', K.classes(), class, text)
  end
  if began or class ~= before or redis.call('ZCARD', K.workers()) ~= redis.call('HLEN', K.class_of()) then note_fleet() end
end
