-- keep_alive: find the sessions of one partition that were used lately and whose KATO session expires soon, and tell
-- their lanes to write to it.
-- ARGV:
--   soon_ms: number    how soon the KATO session expires
--   used_ms: number    how lately the session was used
--   limit              the most sessions that are looked at
-- Returns how many sessions were found.
local now = now_ms()
call('ZREMRANGEBYSCORE', P .. 'exp', '-inf', now) -- These expired. They are rebuilt when an event comes.
local found = 0
for _, session in ipairs(call('ZRANGEBYSCORE', P .. 'exp', '-inf', now + soon_ms, 'LIMIT', 0, limit)) do
  local h = redis.pcall('HMGET', P .. 's:' .. session, 'lane', 'at', 'pk')
  if h.err or not h[1] or h[3] or (tonumber(h[2] or 0) or 0) < now - used_ms then
    call('ZREM', P .. 'exp', session)
  else
    found = found + 1
    call('HSET', P .. 's:' .. session, 'ka', 1)
    call('ZADD', P .. 'pend:' .. h[1], 'NX', now, session)
    if call('EXISTS', P .. 'lease:' .. h[1]) == 0 then call('ZADD', P .. 'ready', 'LT', now, h[1]) end
  end
end
return found
