-- clock_back: repair due times and leases after the clock went back (by a step, or by a failover to a host that is
-- behind). They then lie further ahead than any is ever set. Such due times become now, and such leases end as if they
-- had begun now.
-- ARGV:
--   ahead_ms: number    how far ahead a due time may lie
--   lease_ms: number
-- Returns how many lanes were repaired. Runs again harmlessly.
even_if_full()
local now = now_ms()
local ahead = '(' .. (now + ahead_ms)
local lanes = call('ZRANGEBYSCORE', P .. 'ready', ahead, '+inf', 'LIMIT', 0, 500)
for _, lane in ipairs(lanes) do
  for _, session in ipairs(call('ZRANGEBYSCORE', P .. 'pend:' .. lane, ahead, '+inf', 'LIMIT', 0, 1000)) do
    call('ZADD', P .. 'pend:' .. lane, now, session)
  end
  local left = call('PTTL', P .. 'lease:' .. lane)
  if left > ahead_ms then
    left = lease_ms
    call('PEXPIRE', P .. 'lease:' .. lane, left)
  end
  call('ZADD', P .. 'ready', now + math.max(0, left), lane)
end
for _, key in ipairs(call('ZRANGEBYSCORE', P .. 'owed', ahead, '+inf', 'LIMIT', 0, 500)) do
  call('ZADD', P .. 'owed', now, key)
end
return #lanes
