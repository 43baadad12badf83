-- For scripts that, sent again after their reply was lost (redis-py repeats the command), would find nothing left to do and answer that:
-- the first reply is kept for a while and given again. A script asks for it by `--@once` in its header; CALL is a number that is drawn
-- for each call.

-- Seconds; a client gives up before.
local SAID = 300
-- What is answered where nothing was done: sent again, the call finds that by itself. See also `read_once.nothing_done`.
local NOTHING_DONE = {unknown = true, live = true, used = true, [0] = true}

-- What a call found, where only that is needed to answer it again: kept by those that change something, which may be done to one job without
-- an end. A tenant has 10,000 places, by the last digits of the call's number: of two calls on one place the later is answered again.
-- Its key does not say whose it is: an erased tenant's are there for minutes.
local function place_of_call(tenant, call) return redis.sha1hex(tenant .. ':' .. string.sub(call, -4)) end
local function found_before(tenant, call)
  local number, found = string.match(redis.call('GET', K.said(place_of_call(tenant, call))) or '', '^(%d+) (.*)$')
  return number == call and found
end
local function keep_found(tenant, call, found)
  redis.call('SET', K.said(place_of_call(tenant, call)), call .. ' ' .. found, 'EX', SAID)
end

local function once(call)
  local said = redis.call('GET', K.said(CALL))
  if said then return cjson.decode(said) end
  local reply = call()
  if not (NOTHING_DONE[reply] or read_once.nothing_done) then redis.call('SET', K.said(CALL), cjson.encode(reply), 'EX', SAID) end
  return reply
end
