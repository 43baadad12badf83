#!lua flags=allow-oom
-- Jobs of dead workers and lost hints go back to the queue.
-- KEYS: prefix
-- ARGV: most jobs a call, most crashes, error, error detail JSON, TTL ms, admission
-- Returns {{id, 'queued' | 'failed' | 'cancelled' | 'hint'}, ..., hints last}.
local limit, max_crashes, ttl_ms = tonumber(ARGV[1]), tonumber(ARGV[2]), ARGV[5]
local done = {}
for _, id in ipairs(redis.call('ZRANGEBYSCORE', K.leases(), '-inf', int(NOW), 'LIMIT', 0, limit)) do
  local job = load(id)
  if job and job.status == 'running' then
    count('leases_expired')
    done[#done + 1] = {id, crashed(id, job, max_crashes, ttl_ms, ARGV[3], ARGV[4])}
  else
    redis.call('ZREM', K.leases(), id)
  end
end
for _, id in ipairs(redis.call('ZRANGEBYSCORE', K.hints(), '-inf', int(NOW), 'LIMIT', 0, limit)) do
  redis.call('ZREM', K.hints(), id)
  local job = load(id)
  if job and job.status == 'queued' then
    redis.call('HSET', K.job(id), 'reason', 'no_slot')
    make_ready(id, job)
    done[#done + 1] = {id, 'hint'}
  end
end
done[#done + 1] = admit()
return done
