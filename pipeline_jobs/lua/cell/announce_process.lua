#!lua flags=allow-oom
-- A process of any kind says that it is there, and what it is: about, as JSON. life: how long that holds. keep: how long a row is kept of a
-- process that has ended without a word. leaving: it ends, and its row goes, and its announcement as an API process.
--@args process about life:int keep:int leaving:flag
-- Returns nothing.

-- A row: since when the process is there, since when it has announced itself without a gap (a gap is one of the server's, or its own), when
-- it last did, and what it is.

-- Nobody misses the other processes of this node that began and were last heard of by these times: their rows are marked. A mark goes with
-- the next word of the process, so one that lives is not taken for a former one for long.
local MARK = '{"followed":true,'
local function follow(began, last)
  local node = string.match(process, '^[^/]*') .. '/'
  for other, row in pairs(fields_of(K.processes())) do
    local first, at = string.match(row, '^(%d+) %d+ (%d+) ')
    local former = tonumber(first) <= began and tonumber(at) <= last and not string.find(row, MARK, 1, true)
    if former and other ~= process and string.sub(other, 1, #node) == node then
      redis.call('HSET', K.processes(), other, (string.gsub(row, '{', MARK, 1)))
    end
  end
end

local before = redis.call('HGET', K.processes(), process)
local began, steady = NOW, NOW
if before then
  local first, since, last = string.match(before, '^(%d+) (%d+) (%d+) ')
  began = tonumber(first)
  if NOW - last <= life and NOW >= tonumber(last) then steady = tonumber(since) end
end
if leaving then
  redis.call('HDEL', K.processes(), process)
  -- An API process: announced without a row it would pass for one of an earlier version.
  redis.call('ZREM', K.apis(), process)
  redis.call('ZREM', K.feed_readers(), process)
  -- An older one may live beside it: only what has lapsed was followed by this one. A younger one was to live on.
  if before then follow(began, NOW - life) end
  return
end
if not before then
  follow(math.huge, math.huge)
  -- At each start, what nobody wants to know any more goes.
  for other, row in pairs(fields_of(K.processes())) do
    if NOW - tonumber(string.match(row, '^%d+ %d+ (%d+) ')) > keep then redis.call('HDEL', K.processes(), other) end
  end
end
redis.call('HSET', K.processes(), process, int(began) .. ' ' .. int(steady) .. ' ' .. int(NOW) .. ' ' .. about)
