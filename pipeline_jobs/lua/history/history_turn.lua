#!lua
-- One evaluation of the history at a time a tenant. whose: the tenant, or `*` for operators. taking: otherwise the turn is given back.
--@args whose token ms:int taking:flag
-- Returns 1, or 0: another one has the turn.
local key = K.history_turn(whose)
local held = redis.call('GET', key)
if not taking then
  if held == token then redis.call('DEL', key) end
elseif held and held ~= token then
  return 0
else
  redis.call('SET', key, token, 'PX', int(ms))
end
return 1
