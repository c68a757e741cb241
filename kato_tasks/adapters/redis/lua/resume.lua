-- resume: let a parked session go on at its head event, with new attempts. An open intent stays and is reconciled.
-- ARGV:
--   lane, session
-- Returns 1; 0: the session was not parked.
local now = now_ms()
local s = P .. 's:' .. session
if call('HDEL', s, 'pk') == 0 then return 0 end
call('HDEL', s, 'att', 'un', 'err', 'ft', 'rf', 'pa')
call('SREM', P .. 'parked', session)
call('ZREM', P .. 'failing', session)
requeue(lane, session, now)
-- If the lane is leased now, its holder looks at what is pending when it gives the lane back.
if call('ZSCORE', P .. 'pend:' .. lane, session) and call('EXISTS', P .. 'lease:' .. lane) == 0 then
  call('ZADD', P .. 'ready', 'LT', now, lane)
end
return 1
