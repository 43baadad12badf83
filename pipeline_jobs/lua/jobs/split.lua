#!lua
-- A run has split its job into parts, whose inputs are written: the job gives its slot back and waits for them. n: how many there are;
-- window: how many are open at once. tries: how often one may be tried. part_pool: where they run ('': `default`). collect: a part that fails
-- does not fail the job. begins, ends: the percentages of the job between which its parts are. pool: where it goes on. message: what is told to
-- whoever looks at the job.
--@args id fence:digits stage n:int window:int tries:digits part_pool? collect:flag begins:decimal ends:decimal message pool?
--@settings events admits names kept
--@once
--@reply status hints
-- status: 'queued', or 'failed' | 'cancelled' (a cancel was requested or the deadline has passed), 'fenced' (the run has lost the job).
local job = load(id)
if not job then return {'fenced', {}} end
if job.status ~= 'running' or job.fence ~= fence then
  discard(id, job, fence)
  return {'fenced', {}}
end
-- The run itself learns what became of its job.
job.told_by_run = true
if job.cancel_requested or job.deadline_passed then
  discard(id, job, fence)
  return {stopped(id, job), settle_and_admit()}
end
local split, used = id .. '~' .. fence, used_ms(job)
redis.call('HSET', K.parts(split), 'stage', stage, 'n', int(n), 'left', int(n), 'opened', '0', 'tries', tries, 'pool', part_pool,
  'collect', collect and '1' or '', 'begins', begins, 'ends', ends)
-- Workers that know of no parts must not run it again from the split: they refuse this schema.
redis.call('HSET', K.job(id), 'split', fence .. ' ' .. stage, 'schema', '5', 'message', message)
job.segments_ms = redis.call('HINCRBY', K.job(id), 'segments_ms', int(used))
redis.call('HDEL', K.job(id), 'faults')
back_to_queue(id, job, 'parts', FOR_GOOD - NOW, 'parts', message, pool)
redis.call('ZADD', K.splitting(), int(NOW), id)
open_parts(split, id, job, window)
return {'queued', settle_and_admit()}
