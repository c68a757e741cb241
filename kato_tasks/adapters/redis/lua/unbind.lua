-- unbind: make a session's KATO session count as expired, and its session due, so that the next drain rebuilds its STM.
-- ARGV:
--   lane, session
-- Returns 1, or 0 if the session has an open intent or its lane is leased.
local now = now_ms()
local s = P .. 's:' .. session
if call('EXISTS', P .. 'lease:' .. lane) == 1 or call('HEXISTS', s, 'ic') == 1 then return 0 end
local parts = call('HMGET', s, 'b0', 'b1', 'b2', 'b3', 'pk')
local binding = text_at(parts, 1)
if binding ~= '' then
  local fields = cjson.decode(binding)
  fields[7] = 0
  put_text(s, 'b', cjson.encode(fields))
  call('ZREM', P .. 'exp', session)
end
if not parts[5] then
  call('HSET', s, 'ka', 1)
  call('ZADD', P .. 'pend:' .. lane, now, session)
  call('ZADD', P .. 'ready', 'LT', now, lane)
end
return 1
