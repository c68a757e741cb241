-- keep_alive: sessions of one partition whose KATO session expires soon though they were used lately: their lanes are
-- told to write to it.
-- ARGV:
--   soon_ms: number    how soon it expires
--   used_ms: number    how lately it was used
--   limit              how many at most
-- Returns how many there were.
local now = now_ms()
call('ZREMRANGEBYSCORE', P .. 'exp', '-inf', now) -- expired: rebuilt when something comes
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
