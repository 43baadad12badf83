-- Calls whose repetition (the reply was lost, redis-py sends the command again) would find nothing left to do and say so: what such a call said is
-- kept for a while, and said again. A script asks for it by `--@once` in its header; CALL is drawn for each call.

-- In seconds; a client gives up before.
local SAID = 300

local function once(call)
  local said = redis.call('GET', K.said(CALL))
  if said then return cjson.decode(said) end
  local reply = call()
  redis.call('SET', K.said(CALL), cjson.encode(reply), 'EX', SAID)
  return reply
end
