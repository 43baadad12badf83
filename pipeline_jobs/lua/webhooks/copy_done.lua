#!lua flags=allow-oom
-- The files of a job are copied; its record says where its film is now, if there still is one.
--@args event_id id url
-- Returns 'ok' | 'gone' (the event was erased with its tenant: what was copied must go, too). Sent again: the same.
local order = redis.call('HGET', K.webhook_event(event_id), 'order')
if not order then return 'gone' end
local known = redis.call('HMGET', K.job(id), 'order', 'tenant_id', 'drive_url')
if known[1] == order and known[3] ~= url then
  redis.call('HSET', K.job(id), 'drive_url', url)
  if not known[3] then owe(known[2], bytes_of(20, {url}), id) end
end
return 'ok'
