-- Gaps: the server stood still, was restarted, or its clock was set. Workers' beats and rescues compare the clock with its last reading.
-- If more time has passed than may pass between two readings, or less than none, then nobody could renew a lease meanwhile, and the end
-- times that the server had written are times of another clock.

-- The longest time for which a parked tenant waits for its rate (see held_back).
local PARKED_MOST = 3600000

-- Moves every score that is later than `from` by this many ms, to at most `most` ms from now.
local function shift(key, from, gap, most)
  local found = redis.call('ZRANGEBYSCORE', key, from, '+inf', 'WITHSCORES')
  for i = 1, #found, 2 do redis.call('ZADD', key, int(math.min(found[i + 1] + gap, NOW + most)), found[i]) end
end

-- From which score on an entry is a time of the clock before: after that was set back, what is later than it may be. What is not was given
-- by the present clock, before anybody noticed, and to move it would end it.
local function of_before(gap, most) return gap < 0 and '(' .. int(NOW + most) or '-inf' end

-- The maximum run time counts the time that the runs had; a job's own deadline is a time of day, which stays. A run that began after the
-- clock was set, and before anybody noticed, has its times from the present clock. After that was set back, its start is not in the
-- future, and no longer ago than a look at the clock; of a lease that is as good as it may be nothing follows: progress renews it, too.
local function shift_longest_runs(gap)
  local leases = redis.call('ZRANGE', K.leases(), 0, -1, 'WITHSCORES')
  for i = 1, #leases, 2 do
    local id = leases[i]
    local known = redis.call('HMGET', K.job(id), 'run_until', 'deadline_at', 'deadline_passed', 'started_at')
    local started = tonumber(known[4] or 0)
    local older = tonumber(leases[i + 1]) > NOW + LEASE_MS or started > NOW or started < NOW - GAP_MS
    if gap >= 0 then older = started < NOW - gap / 2 end
    -- The clock may be set again, and to where it was: then it must not seem to have begun only now.
    if older and known[4] then redis.call('HSET', K.job(id), 'started_at', int(started + gap)) end
    if older and known[1] and not known[3] then
      local longest = int(known[1] + gap)
      redis.call('HSET', K.job(id), 'run_until', longest)
      redis.call('ZADD', K.deadlines(), int(math.min(longest, tonumber(known[2]) or math.huge)), id)
    end
  end
end

-- Deliveries that wait to be sent, or to be sent again: the next thousand of each lane.
local function shift_deliveries(gap)
  local lanes = {}
  for _, lane in ipairs(redis.call('ZRANGE', K.webhook_wake(), 0, 999)) do lanes[lane] = true end
  for _, tenant in ipairs(redis.call('ZRANGE', K.webhook_ring(), 0, 199)) do
    for _, host in ipairs(redis.call('ZRANGE', K.webhook_lanes(tenant), 0, 99)) do lanes[tenant .. ' ' .. host] = true end
  end
  for lane in pairs(lanes) do
    local tenant, host = string.match(lane, '^(%S+) (%S+)$')
    local key = K.webhook_lane(tenant, host)
    for _, id in ipairs(redis.call('ZRANGE', key, 0, 999)) do redis.call('ZINCRBY', key, int(gap), id) end
  end
  shift(K.webhook_wake(), '-inf', gap, math.huge)
end

-- After the clock was set back: tenants wait for their rate, jobs for their backoff and deliveries for their turn as long as they would
-- have waited. (The next
-- thousand delayed jobs are looked at. A start time that was asked for stays.)
local function shift_waits(gap)
  in_each_pool(function()
    shift(K.parked(), '-inf', gap, PARKED_MOST)
    redis.call('DEL', K.apart(''))
  end)
  shift_deliveries(gap)
  for _, id in ipairs(redis.call('ZRANGEBYSCORE', K.delayed(), int(NOW), '+inf', 'LIMIT', 0, 1000)) do
    if redis.call('HGET', K.job(id), 'reason') == 'retry' then redis.call('ZINCRBY', K.delayed(), int(gap), id) end
  end
end

-- Leases that were valid when a gap began are extended by its length, to at most a whole lease: a live worker then renews them, and those
-- of a dead one end no more than a lease later. restarted: the server was restarted since the last rescue, which was at `since`. A beat may
-- have noticed that gap before: so the gap is counted from the last reading of the clock, whichever script made it.
local function mind_the_gap(restarted, since)
  local known = redis.call('MGET', K.seen(), K.pools())
  read_once.pools = known[2] or ''
  local gap = NOW - tonumber(known[1] or since or NOW)
  redis.call('SET', K.seen(), int(NOW))
  read_once.seen = NOW
  if gap >= 0 and gap < GAP_MS and not restarted then return end
  in_each_pool(function()
    shift_longest_runs(gap)
    -- Announcements that had ended before are moved, too, and are still over.
    shift(K.leases(), of_before(gap, LEASE_MS), gap, LEASE_MS)
    shift(K.workers(), '-inf', gap, ALIVE_MS)
    -- A hint is given its whole time once more: the worker that takes it may have to connect first. Of a job that has crashed that is short.
    shift(K.hints(), '-inf', math.max(gap, 0) + HINT_MS, HINT_MS)
    for _, id in ipairs(redis.call('ZRANGE', K.hints(), 0, -1)) do
      local soon = redis.call('HGET', K.job(id), 'hint_soon')
      if soon then redis.call('ZADD', K.hints(), 'LT', int(NOW + math.min(HINT_MS, 500 * soon)), id) end
    end
  end)
  if gap < 0 then shift_waits(gap) end
end
