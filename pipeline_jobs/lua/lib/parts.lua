-- Parts of a job (docs/decisions/0018-parts.md). A part is a job record with a field `part_of`: the places of the queue know it, and no list,
-- count or log does (`move`, `end_job`, `event`, `start_run`).
--
-- A split is called `{job}~{fence}`, by the run that made it, and its parts `{split}.{number}`, from 0. The job waits for them (reason `parts`)
-- and its field `split` has the fence and the stage, or the fence only while inputs are still being written. The table of a split has `stage`,
-- `n`, `opened` (how many parts there have been so far), `left` (how many have not ended), `tries` and `pool` of a part, `collect`, the
-- percentages `begins` and `ends` of the job between which its parts are, `done` (the sum of theirs), and of each part its input `i:{number}`, and
-- when it has ended its result `r:{number}` and `f:{number}`: the fence that ended it, and how.

-- What a part's record is charged.
local PART_BYTES = 700

-- Opens the next parts of a split: they wait in their lane, with the place that their job has.
local function open_parts(split, id, job, many)
  local known = redis.call('HMGET', K.parts(split), 'n', 'opened', 'tries', 'pool')
  local from, longest = tonumber(known[2]), redis.call('HGET', K.job(id), 'max_run_seconds') or nil
  local to = math.min(from + many, tonumber(known[1]))
  for number = from, to - 1 do
    local part, pool = split .. '.' .. int(number), known[4] ~= '' and known[4] or nil
    local own = {
      tenant_id = job.tenant_id, workspace_id = job.workspace_id, pipeline = job.pipeline, priority = job.priority or '0', order = job.order,
      pool = pool, max_run_seconds = longest,
    }
    redis.call('HSET', K.job(part), 'job_id', part, 'part_of', id, 'status', 'queued', 'reason', 'fair_share', 'created_at', STAMP,
      'new_attempt', '1', 'max_attempts', known[3], 'schema', '5', 'store_bytes', PART_BYTES, unpack(flat_of(own)))
    redis.call('ZADD', K.status('part_queued'), job.order, part)
    redis.call('SADD', K.open_parts(split), part)
    owe(job.tenant_id, PART_BYTES)
    make_ready(part, own)
    spend(15)
  end
  if to > from then redis.call('HSET', K.parts(split), 'opened', int(to)) end
end

-- A split of a job is over: its table goes now, its open parts and its files with `end_splits`. counted: what its open parts have run until
-- now is added to `parts_ms` of the job. Of very many, of some: this runs in the script that ends the job.
local function retire_split(id, job, counted)
  local split = id .. '~' .. string.match(job.split, '^%d+')
  for _, part in ipairs(counted and redis.call('SRANDMEMBER', K.open_parts(split), 200) or {}) do
    local open = load(part)
    if open then redis.call('HINCRBY', K.job(id), 'parts_ms', int(used_ms(open) + (redis.call('HGET', K.job(part), 'ran_ms') or 0))) end
    spend(3)
  end
  owe(job.tenant_id, -(redis.call('HGET', K.parts(split), 'store_bytes') or 0))
  redis.call('UNLINK', K.parts(split))
  redis.call('HDEL', K.job(id), 'split')
  redis.call('RPUSH', K.ended_splits(), split .. ' ' .. job.tenant_id)
  job.split, read_once.retired = nil, true
end

-- The end of a part: its record goes, its result is in the table, the next part is opened, and after the last one its job goes on.
local function end_part(id, job, to, detail)
  -- What a part that has ended leaves in the table. Returns the row, or nil: its job ends with it. detail: of an error, JSON.
  local function row_of_part(id, job, to, detail, outputs)
    local split, number = string.match(id, '^(.+)%.(%d+)$')
    if to == 'completed' then return outputs or '[]' end
    local error = to == 'failed' and cjson.decode(detail)
    if error and redis.call('HGET', K.parts(split), 'collect') == '1' then return cjson.encode({code = error.code, message = error.message}) end
    if error then error.message = 'part ' .. number .. ': ' .. error.message end
    read_once.failed_parts[#read_once.failed_parts + 1] =
      {id = job.part_of, to = to, error = error and error.message, detail = error and cjson.encode(error)}
  end
  spend(45)
  local split, number = string.match(id, '^(.+)%.(%d+)$')
  if job.status == 'queued' then leave_queue(id, job) end
  count('parts', to)
  local used, kept = used_ms(job), redis.call('HMGET', K.job(id), 'outputs', 'blobs', 'ran_ms')
  release(id, job, to)
  record_usage(job, nil, used)
  if used > 0 then
    -- Its record goes; who ran when over the last hour is asked later.
    local till, key = job.ran_until or NOW, K.parts_ran(job.tenant_id)
    redis.call('XADD', key, 'MAXLEN', '~', 500, '*', 'job', job.part_of, 'begin', int(till - used), 'end', int(till))
    redis.call('EXPIRE', key, 3600)
    redis.call('ZADD', K.parts_ran_tenants(), STAMP, job.tenant_id)
    redis.call('ZREMRANGEBYSCORE', K.parts_ran_tenants(), '-inf', int(NOW - 3600000))
  end
  move(id, job, to)
  if job.run_until then redis.call('ZREM', K.deadlines(), id) end
  owe(job.tenant_id, -(job.store_bytes or 0))
  redis.call('DEL', K.job(id))
  redis.call('SREM', K.open_parts(split), id)
  local live = redis.call('HEXISTS', K.parts(split), 'left') == 1
  -- For the history: how long the job's parts had a slot.
  if live and HISTORY == 1 then redis.call('HINCRBY', K.job(job.part_of), 'parts_ms', int(used + (kept[3] or 0))) end
  local row = live and row_of_part(id, job, to, detail, kept[1])
  if kept[2] and row and to == 'completed' then
    redis.call('RPUSH', K.parts_blobs(split), kept[2])
  elseif kept[2] then
    count_blobs(job.tenant_id, kept[2], -1)
  end
  if not row then return end
  local whole, bytes = load(job.part_of), int(bytes_of(#row + 100))
  redis.call('HSET', K.parts(split), 'r:' .. number, row, 'f:' .. number, (job.fence or '0') .. ' ' .. to)
  redis.call('HINCRBY', K.parts(split), 'store_bytes', bytes)
  owe(job.tenant_id, bytes)
  if to == 'failed' then event(job.part_of, whole, 'progress', 'part ' .. number .. ' failed: ' .. job.error, 'part:queued') end
  add_progress(split, job.part_of, whole, 100 - (job.progress or 0))
  open_parts(split, job.part_of, whole, 1)
  if redis.call('HINCRBY', K.parts(split), 'left', -1) == 0 then unpark(job.part_of, whole) end
end
