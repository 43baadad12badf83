-- The log of a job: what its stages say (docs/logs.md). The newest pieces lie in a list; files that have whole logs of runs lie with the
-- kept outputs and are counted as those are (`outputs.lua`).

-- The number of pieces that a log keeps, the size up to which short ones are put together, and the number of files.
local LOG_PIECES, PIECE_BYTES, LOG_FILES = 8, 4096, 3

-- Returns by how much the server's memory has grown, roughly.
local function append_pieces(id, pieces)
  local grown, newest = 0, redis.call('LINDEX', K.logs(id), -1)
  for _, piece in ipairs(pieces) do
    if newest and #newest + #piece < PIECE_BYTES then
      newest = newest .. '\n' .. piece
      redis.call('LSET', K.logs(id), -1, newest)
      grown = grown + #piece + 1
    else
      newest = piece
      if redis.call('RPUSH', K.logs(id), piece) == 1 then grown = grown + 150 end
      grown = grown + #piece + 20
    end
  end
  while redis.call('LLEN', K.logs(id)) > LOG_PIECES do grown = grown - #redis.call('LPOP', K.logs(id)) - 20 end
  return grown
end

-- Notes the file of a run in the record; the oldest of more than there may be goes.
local function name_log_file(id, tenant, file)
  local files = {}
  for one in string.gmatch(redis.call('HGET', K.job(id), 'log_files') or '', '[^,]+') do
    if one == file then return end
    files[#files + 1] = one
  end
  files[#files + 1] = file
  count_blobs(tenant, string.match(file, '[^:]+$'), 1)
  if #files > LOG_FILES then count_blobs(tenant, string.match(table.remove(files, 1), '[^:]+$'), -1) end
  redis.call('HSET', K.job(id), 'log_files', table.concat(files, ','))
end
