-- For scripts that, sent again after their reply was lost (redis-py repeats the command), would find nothing left to do and answer that:
-- the first reply is kept for a while and given again. A script asks for it by `--@once` in its header; CALL is a number that is drawn
-- for each call.

-- Seconds; a client gives up before.
local SAID = 300

-- What a call found, where only that is needed to answer it again: kept by those that change something.
local function found_before(call) return redis.call('GET', K.said(call)) end
local function keep_found(call, found) redis.call('SET', K.said(call), found, 'EX', SAID) end

local function once(call)
  local said = redis.call('GET', K.said(CALL))
  if said then return cjson.decode(said) end
  local reply = call()
  redis.call('SET', K.said(CALL), cjson.encode(reply), 'EX', SAID)
  return reply
end
