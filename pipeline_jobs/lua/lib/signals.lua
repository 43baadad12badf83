-- Signals: what a job may wait for besides slots, points in time and other jobs (`Wait` in pipelines.py). A job that waits for one is parked:
-- it is queued with the reason `signal`, has no slot and no lease, and lies in `delayed` until the time of its wait is over (without such a
-- time: for good). The record says what it waits for: `awaits`, `awaits_since`, `awaits_until`, and in `awaits_or` what the end of the time does.
--
-- The first word on a signal counts, be it the signal or the end of the wait: it stays in the record as `signal:{name}`, and its name in
-- `signalled`. A signal may come before its wait begins.

-- What an index would say for "for good".
local FOR_GOOD = 1e15

-- The first word on a signal, or nil: {"payload":JSON,"by":text,"at":ms}.
local function signal_of(id, name) return redis.call('HGET', K.job(id), 'signal:' .. name) or nil end

-- Writes the first word on a signal; the caller has seen that there is none. Returns it.
local function note_signal(id, job, name, payload, by)
  local row = '{"payload":' .. payload .. ',"by":' .. cjson.encode(by) .. ',"at":' .. STAMP .. '}'
  local names = redis.call('HGET', K.job(id), 'signalled')
  redis.call('HSET', K.job(id), 'signal:' .. name, row, 'signalled', names and names .. ',' .. name or name)
  job.store_bytes = owe(job.tenant_id, bytes_of(#row + 2 * #name + 40), id)
  return row
end

-- A parked job goes on: it is in its lane, with its old order, on the same attempt.
local function unpark(id, job)
  spend(15)
  stop_waiting(id, job)
  redis.call('ZREM', K.delayed(), id)
  local start = redis.call('HGET', K.job(id), 'run_at')
  if start and tonumber(start) > NOW then
    redis.call('HSET', K.job(id), 'reason', 'scheduled')
    redis.call('ZADD', K.delayed(), start, id)
  else
    redis.call('HSET', K.job(id), 'reason', 'fair_share')
    make_ready(id, job)
  end
end
