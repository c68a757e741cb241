-- clock_back: the clock went back (a step, or a failover to a host that is behind), so due times and leases lie further
-- ahead than any is ever set: those are due now, and end as if begun now.
-- ARGV: 1 how far ahead (ms) a due time may lie, 2 lease ms. Returns how many lanes there were. Runs again harmlessly.
even_if_full()
local now, limit = now_ms(), tonumber(ARGV[1])
local ahead = '(' .. (now + limit)
local lanes = call('ZRANGEBYSCORE', P .. 'ready', ahead, '+inf', 'LIMIT', 0, 500)
for _, lane in ipairs(lanes) do
  for _, session in ipairs(call('ZRANGEBYSCORE', P .. 'pend:' .. lane, ahead, '+inf', 'LIMIT', 0, 1000)) do
    call('ZADD', P .. 'pend:' .. lane, now, session)
  end
  local left = call('PTTL', P .. 'lease:' .. lane)
  if left > limit then
    left = tonumber(ARGV[2])
    call('PEXPIRE', P .. 'lease:' .. lane, left)
  end
  call('ZADD', P .. 'ready', now + math.max(0, left), lane)
end
for _, key in ipairs(call('ZRANGEBYSCORE', P .. 'owed', ahead, '+inf', 'LIMIT', 0, 500)) do
  call('ZADD', P .. 'owed', now, key)
end
return #lanes
