-- Gaps: the server stood still, was restarted, or its clock was set. Workers' beats and rescues look at the clock; if more time passed between two
-- looks than may, or less than none, nobody could renew a lease meanwhile, and what the server gave until a time was given by another clock.

-- Longest wait of a parked tenant for its rate (see held_back).
local PARKED_MOST = 3600000

-- Move all that is later than `from` by so many ms; nothing is later than `most` from now.
local function shift(key, from, gap, most)
  local found = redis.call('ZRANGEBYSCORE', key, from, '+inf', 'WITHSCORES')
  for i = 1, #found, 2 do redis.call('ZADD', key, int(math.min(found[i + 1] + gap, NOW + most)), found[i]) end
end

-- The longest that runs may take is of the time that they had; a job's own deadline is of the clock on the wall.
local function shift_longest_runs(gap)
  for _, id in ipairs(redis.call('ZRANGE', K.leases(), 0, -1)) do
    local known = redis.call('HMGET', K.job(id), 'run_until', 'deadline_at', 'deadline_passed')
    if known[1] and not known[3] then
      local longest = int(known[1] + gap)
      redis.call('HSET', K.job(id), 'run_until', longest)
      redis.call('ZADD', K.deadlines(), int(math.min(longest, tonumber(known[2]) or math.huge)), id)
    end
  end
end

-- After the clock was set back: tenants wait for their rate, and jobs for their backoff, as long as they would have (of the delayed jobs the next
-- thousand are looked at; a start that was asked for stays).
local function shift_waits(gap)
  shift(K.parked(), '-inf', gap, PARKED_MOST)
  for _, id in ipairs(redis.call('ZRANGEBYSCORE', K.delayed(), int(NOW), '+inf', 'LIMIT', 0, 1000)) do
    if redis.call('HGET', K.job(id), 'reason') == 'retry' then redis.call('ZINCRBY', K.delayed(), int(gap), id) end
  end
end

-- Leases that were good when a gap began grow by it, at most to a whole one: who lives renews them, who is dead lies no longer than a lease more.
-- restarted: the server was, since the last rescue, which was at `since`. A beat may have seen that gap before: it is no longer than since the
-- last look, whosever that was.
local function mind_the_gap(restarted, since)
  local gap = NOW - tonumber(redis.call('GET', K.seen()) or since or NOW)
  redis.call('SET', K.seen(), int(NOW))
  if gap >= 0 and gap < GAP_MS and not restarted then return end
  -- What had ended before it is moved, too, and has ended still.
  shift(K.leases(), '-inf', gap, LEASE_MS)
  shift(K.workers(), '-inf', gap, ALIVE_MS)
  -- A hint is given its whole time once more: who takes it may have to connect first.
  shift(K.hints(), '-inf', gap + HINT_MS, HINT_MS)
  shift_longest_runs(gap)
  if gap < 0 then shift_waits(gap) end
end
