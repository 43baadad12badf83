#!lua
-- An API process says that it is there, for `life` ms from now; what each counts by itself is divided by their number.
--@args process life:int
--@reply processes
for _, key in ipairs({K.apis(), K.feed_readers()}) do
  redis.call('ZREMRANGEBYSCORE', key, '-inf', int(NOW))
  redis.call('ZADD', key, NOW + life, process)
end
return {redis.call('ZCARD', K.apis())}
