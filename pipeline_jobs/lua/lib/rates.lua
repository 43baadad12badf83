-- Submit rates: token buckets, one of the tenant and one of the sender. All are checked before any is written. A batch needs one token of
-- each to be accepted and takes one for each of its jobs: the debt is paid off before the next one is accepted.

-- Seconds: the longest time to fill up that is given for a rate near zero.
local MONTH = 2592000

-- nil if a bucket has a token, else the ms until it has one.
local function no_token(name, key, rate)
  local left, at = string.match(redis.call('GET', key) or '0 0', '^(%S+) (%S+)$')
  local have = tokens(tonumber(left), tonumber(at), rate)
  read_once.buckets[#read_once.buckets + 1] = {name = name, key = key, rate = rate, have = have}
  if have < 1 then return rate > 0 and math.min(math.ceil((1 - have) / rate * 1000), 3600000) or 3600000 end
end

-- Takes this many tokens of each bucket. Returns for each its name, tokens a second, how many are left, ms until it is full, as one text: a
-- list is dear in a reply.
local function take_tokens(n)
  if not read_once.buckets[1] then return '' end
  local flat = {}
  for _, bucket in ipairs(read_once.buckets) do
    local key, rate, left = bucket.key, bucket.rate, bucket.have - n
    redis.call('SET', key, left .. ' ' .. int(NOW), 'EX', math.min(math.max(3600, math.ceil(-left / rate) + 60), MONTH))
    flat[#flat + 1] = bucket.name
    flat[#flat + 1] = rate
    flat[#flat + 1] = int(math.max(0, math.floor(left)))
    flat[#flat + 1] = int(math.min(math.ceil((math.max(1, rate) - left) / rate * 1000), MONTH * 1000))
  end
  return table.concat(flat, ' ')
end
