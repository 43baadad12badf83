#!lua flags=allow-oom
-- A process of any kind says that it is there, and what it is: about, as JSON. life: how long that holds. keep: how long a row is kept of a
-- process that has ended without a word. leaving: it ends, and its row goes, and its announcement as an API process.
--@args process about life:int keep:int leaving:flag
-- Returns nothing.

-- A row: since when the process is there, since when it has announced itself without a gap (a gap is one of the server's, or its own), when
-- it last did, and what it is.
local before = redis.call('HGET', K.processes(), process)
if leaving then
  redis.call('HDEL', K.processes(), process)
  -- An API process: announced without a row it would pass for one of an earlier version.
  redis.call('ZREM', K.apis(), process)
  return
end
local began, steady = NOW, NOW
if before then
  local first, since, last = string.match(before, '^(%d+) (%d+) (%d+) ')
  began = tonumber(first)
  if NOW - last <= life and NOW >= tonumber(last) then steady = tonumber(since) end
else
  -- At each start, what nobody wants to know any more goes.
  for other, row in pairs(fields_of(K.processes())) do
    if NOW - tonumber(string.match(row, '^%d+ %d+ (%d+) ')) > keep then redis.call('HDEL', K.processes(), other) end
  end
end
redis.call('HSET', K.processes(), process, int(began) .. ' ' .. int(steady) .. ' ' .. int(NOW) .. ' ' .. about)
