#!lua
-- A run is about to use the operator's language model: charge its tenant's day. Compare-and-set on (id, fence). amount: of tokens. most: of
-- a tenant without a limit of its own.
--@args id fence:digits amount:int most:int
-- Returns 'ok' | 'full' (the tenant has used what it may today) | 'none' (it may not use any) | 'fenced' (the run has lost the job). Sent
-- again: the same, and charged once.
local job = load(id)
if not job or job.status ~= 'running' or job.fence ~= fence then return 'fenced' end
if redis.call('HGET', K.job(id), 'tokens_fence') == fence then return 'ok' end
local day = K.usage_day(job.tenant_id, int(math.floor(NOW / 86400000)))
local limit = limits_of(job.tenant_id).daily_llm_tokens or most
if tonumber(redis.call('HGET', day, 'llm_tokens') or '0') + amount > limit then return limit > 0 and 'full' or 'none' end
redis.call('HINCRBY', day, 'llm_tokens', int(amount))
redis.call('EXPIRE', day, 34560000)
redis.call('HSET', K.job(id), 'tokens_fence', fence)
return 'ok'
