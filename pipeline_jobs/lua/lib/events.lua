-- The event log: one line for each transition, written by the script that makes it (docs/events.md).

local EIGHT_DAYS = 691200

-- The first event of a job is made of its record: its log begins with the second (`events_cut` is 1).
local function created_line(at) return '["created",' .. at .. ']' end

-- Writes an event into the job's log and the tenant's feed, and notifies the listeners. `kind` is a type of event_types.py without its
-- `job.`. text: a message or an error; why: a word for programs. The line is a JSON list, without the empty values at its end: kind, ms,
-- attempt, progress, stage, text, why. Returns the event's number: the log has the newest LOG_MOST, or fewer (`events_cut` are not
-- there).
local function event(id, job, kind, text, why)
  if job.part_of then
    -- A part has no log. That of its job tells that it is tried again, and why. With its split over it tells nothing: the job may have ended,
    -- and its id be another's.
    local split = kind == 'requeued' and string.match(id, '^(.+)%.')
    local whole = split and redis.call('HEXISTS', K.parts(split), 'left') == 1 and load(job.part_of)
    local said = whole and {'part ' .. string.match(id, '%d+$') .. ' goes back to the queue: ' .. why, text ~= '' and text or nil}
    return said and event(job.part_of, whole, 'progress', table.concat(said, ', '), 'part:queued') or 0
  end
  local attempt, progress, stage = tonumber(job.attempt or '0'), tonumber(job.progress or '0'), job.stage or ''
  if why == '' then why = nil end
  local said, line = text and text ~= '' or why
  if said or string.find(stage, '[%c"\\]') then
    line = cjson.encode({kind, NOW, attempt, progress, stage, said and (text or ''), why})
  else
    -- Most have no text that would have to be encoded, and are put together in half the time.
    line = '["' .. kind .. '",' .. STAMP
    if stage ~= '' or progress ~= 0 then line = line .. ',' .. attempt .. ',' .. progress elseif attempt ~= 0 then line = line .. ',' .. attempt end
    line = line .. (stage ~= '' and ',"' .. stage .. '"]' or ']')
  end
  local length = redis.call('RPUSH', K.events(id), line)
  local number = length + tonumber(job.events_cut or '0')
  -- A short log is part of the record's charge; of a long one every eighth line is charged for the eight. At its maximum it grows no more.
  if number % 8 == 0 and number > 8 and length <= LOG_MOST then job.store_bytes = owe(job.tenant_id, 8 * (#line + 8), id) end
  if length > LOG_MOST then
    redis.call('LTRIM', K.events(id), -LOG_MOST, -1)
    job.events_cut = int(number - LOG_MOST)
    redis.call('HSET', K.job(id), 'events_cut', job.events_cut)
  end
  if FEED_MOST > 0 then redis.call('XADD', K.feed(job.tenant_id), 'MAXLEN', '~', FEED_MOST, '*', 'e', id .. ':' .. int(number)) end
  -- Once a script: whoever looks then finds all that it has written.
  if not read_once.told[id] then redis.call('PUBLISH', K.news(job.tenant_id), id) end
  read_once.told[id] = true
  return number
end

-- The first event of new jobs (see accept), which is in their records (created_line). Only the feed can have listeners yet, so the feed
-- alone is notified. The jobs of a batch behind its first have one entry, if all announced API processes read it: those of a version before
-- are in `apis` alone. Their places are the next ones behind the first's, the last of them the entry's own, so a reader may go on behind any
-- of them. Its name is no id of a job or a batch: a version before would pass over it.
local function tell_created(asked)
  local tenant, batch, n, ids = asked[1].job.tenant_id, asked[1].job.batch_id, asked.n or #asked, asked.ids
  local key = K.feed(tenant)
  if FEED_MOST > 0 then
    local at_once = n > 2 and batch and not redis.call('ZDIFF', 2, K.apis(), K.feed_readers())[1]
    for i = 1, at_once and 0 or n - 1 do redis.call('XADD', key, '*', 'e', (ids and ids[i] or asked[i].id) .. ':1') end
    -- The last one cuts the feed for all.
    local last = at_once and 1 or n
    local place = redis.call('XADD', key, 'MAXLEN', '~', FEED_MOST, '*', 'e', (ids and ids[last] or asked[last].id) .. ':1')
    if at_once then
      local ms, number = string.match(place, '^(%d+)%-(%d+)$')
      redis.call('XADD', key, 'MAXLEN', '~', FEED_MOST, ms .. '-' .. int(number + n - 1), 'j', '/' .. batch .. ':' .. int(n - 1))
    end
  end
  redis.call('PUBLISH', K.news(tenant), asked[1].id)
end
