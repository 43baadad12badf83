-- Submit rates: token buckets, one of the tenant and one of the sender. All are checked before any is written. A batch needs one token of
-- each to be accepted and takes one for each of its jobs: the debt is paid off before the next one is accepted.

-- Seconds: the longest time that a debt is remembered, for a rate near zero.
local MONTH = 2592000

-- nil if a bucket has a token, else the ms until it has one.
local function no_token(name, key, rate)
  local left, at = string.match(redis.call('GET', key) or '0 0', '^(%S+) (%S+)$')
  local have = tokens(tonumber(left), tonumber(at), rate)
  read_once.buckets[#read_once.buckets + 1] = {name = name, key = key, rate = rate, have = have}
  if have < 1 then return rate > 0 and math.min(math.ceil((1 - have) / rate * 1000), 3600000) or 3600000 end
end

-- Takes this many tokens of each bucket. Returns for each its name, tokens a second, how many are left (below 0: a debt), as one text: a list
-- is dear in a reply.
local function take_tokens(n)
  local told = ''
  for i = 1, #read_once.buckets do
    local bucket = read_once.buckets[i]
    local key, rate, left = bucket.key, bucket.rate, bucket.have - n
    local seconds = left < 0 and math.min(math.max(3600, math.ceil(-left / rate) + 60), MONTH) or 3600
    -- A number becomes a text as slowly as a key is read.
    left = tostring(left)
    redis.call('SET', key, left .. ' ' .. STAMP, 'EX', seconds)
    told = told .. bucket.name .. ' ' .. rate .. ' ' .. left .. ' '
  end
  return told
end
