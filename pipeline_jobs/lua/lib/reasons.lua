-- Why a job in a lane waits. It is computed when somebody asks, because limits are reached and left with every event.

-- For a job of this tenant and pipeline in this pool: reason, limit or '', current or ''. What it looks at is read once a script.
local function why_waits(tenant, pipeline)
  local limits, reason = limits_of(tenant), held_back(tenant)
  if reason == 'tenant_concurrency' then return reason, int(limits.max_concurrent), int(slots_of(tenant)) end
  if reason == 'tenant_rate' then return reason, tostring(limits.start_rate), '' end
  if reason then return reason, '', '' end
  local pipe = pipe_of(pipeline)
  if pipeline_full(pipeline) then return 'pipeline_concurrency', int(pipe.cap), int(pipe.n + pipe.others) end
  if live_slots() == 0 then return POOL == '' and 'no_worker' or 'no_worker_for_pool', '', '' end
  if slots_for(pipeline, 'slots') == 0 then return 'no_worker_for_pipeline', '', '' end
  local most, held = most_beside_others(tenant, nil, pipeline)
  if most then return 'tenant_concurrency', int(most), int(held) end
  return 'fair_share', int(live_slots()), ''
end

-- Replaces the stored reason in a record, as HGETALL gives it, by the current one if the job is in a lane. Returns the record as a table.
local function tell_reason(id, record)
  local job, at = {}, nil
  for i = 1, #record, 2 do
    job[record[i]] = record[i + 1]
    if record[i] == 'reason' then at = i + 1 end
  end
  -- A damaged record may lack any field: it is shown as it is.
  local whole = at and job.tenant_id and job.workspace_id and job.pipeline and job.order
  local before = use_pool(pool_of(job))
  if whole and job.status == 'queued' and redis.call('ZSCORE', K.ready(job.tenant_id, job.workspace_id, job.pipeline), ready_member(id, job)) then
    record[at] = why_waits(job.tenant_id, job.pipeline)
  end
  use_pool(before)
  return job
end
