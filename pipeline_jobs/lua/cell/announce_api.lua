#!lua
-- An API process says that it is there, for `life` ms from now; what each counts by itself is divided by their number.
--@args process life:int
--@reply processes
redis.call('ZREMRANGEBYSCORE', K.apis(), '-inf', int(NOW))
redis.call('ZADD', K.apis(), NOW + life, process)
return {redis.call('ZCARD', K.apis())}
