-- The limits that are checked at a submit, of the tenant and of the installation: rates, queued jobs, stored bytes, pending webhooks,
-- memory.

-- share: how many bytes of the server's memory a tenant may hold at this moment (guard.py; negative: any number). Returns the reply that refuses `n` more jobs of a tenant, with the limit that was reached; nil if they may be accepted.
local function no_room(tenant, n, sender, share)
  local limits = limits_of(tenant)
  local wait = limits.submit_rate and no_token('tenant', K.rate(tenant), limits.submit_rate)
  if wait then return {'rate', 'tenant', tostring(limits.submit_rate), int(wait)} end
  if SENDER_RATE > 0 and sender ~= '' then
    local kind = string.match(sender, '^%a+')
    wait = no_token(kind, K.sender_rate(sender), SENDER_RATE)
    if wait then return {'rate', kind, tostring(SENDER_RATE), int(wait)} end
  end
  if over_share(tenant, share) then
    drop_reused_while(tenant, function() return over_share(tenant, share) end)
    if over_share(tenant, share) then return {'full', 'memory', 30} end
  end
  local all = redis.call('ZCARD', K.status('queued'))
  if webhooks_full(tenant, n, 0, all) then return {'full', 'webhooks', 300} end
  -- Parked jobs have a limit of their own. They are counted only where it matters.
  local over = all + n - (limits.max_queued or QUEUE_MOST)
  -- A tenant has no more than all have together.
  if over > 0 then over = over - all + redis.call('ZCARD', K.tenant_status(tenant, 'queued')) end
  if over > 0 and over > redis.call('ZCARD', K.tenant_awaiting(tenant)) then return {'full', 'tenant', retry_after(pace_of(tenant), n)} end
  over = all + n - QUEUE_MOST_OF_ALL
  if over > 0 and over > redis.call('ZCARD', K.awaiting()) then return {'full', 'all', retry_after(pace_of(), n)} end
  local bytes = max_storage_of(tenant)
  if bytes and keeps_more(tenant, bytes - 1) then return {'full', 'storage', 300} end
end
