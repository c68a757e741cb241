-- touch: sessions of one partition whose KATO session expires soon though they were used lately: their lanes are
-- told to write to it. ARGV: 1 how soon (ms), 2 how lately (ms), 3 how many. Returns how many there were.
local now = now_ms()
call('ZREMRANGEBYSCORE', P .. 'exp', '-inf', now) -- expired: rebuilt when something comes
local found = 0
for _, session in ipairs(call('ZRANGEBYSCORE', P .. 'exp', '-inf', now + tonumber(ARGV[1]), 'LIMIT', 0, ARGV[3])) do
  local h = redis.pcall('HMGET', P .. 's:' .. session, 'lane', 'at', 'pk')
  if h.err or not h[1] or h[3] or (tonumber(h[2] or 0) or 0) < now - tonumber(ARGV[2]) then
    call('ZREM', P .. 'exp', session)
  else
    found = found + 1
    call('HSET', P .. 's:' .. session, 'ka', 1)
    call('ZADD', P .. 'pend:' .. h[1], 'NX', now, session)
    if call('EXISTS', P .. 'lease:' .. h[1]) == 0 then call('ZADD', P .. 'ready', 'LT', now, h[1]) end
  end
end
return found
