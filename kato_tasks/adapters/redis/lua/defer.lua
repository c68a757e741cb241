-- defer: let this session wait (a backoff or a settling time), while its lane goes on with the other sessions.
-- ARGV:
--   lane, token, lease_ms: number
--   session
--   wait_ms: number
--   attempts
--   unsent_in_a_row  calls in a row that were never sent
--   error_text    what its last try met, or ''
--   withdraw      call id of an intent that was certainly never sent, or ''
--   events_at_most  the most events that the session's next call may hold; 0: the limit stays
--   rebuilds      how often in a row its KATO session could not be rebuilt; 0: the number stays
--   mode          next or release
--   max_events: number, max_bytes: number    of the next piece of work
-- Returns { 1, due, work } or { 0 } if the lane was lost.
local now = now_ms()
if not holds(lane, token, lease_ms, now) then return { 0 } end
local s = P .. 's:' .. session
call('HSET', s, 'att', attempts, 'un', unsent_in_a_row, 'err', error_text)
if error_text ~= '' then call('ZADD', P .. 'failing', 'NX', now, session) end
if attempts ~= '0' then call('HSETNX', s, 'ft', now) end
call('HDEL', s, 'cr', 'pa')
if rebuilds ~= '0' then call('HSET', s, 'rf', rebuilds) end
if withdraw ~= '' and call('HGET', s, 'ic') == withdraw then
  call('HDEL', s, 'i0', 'i1', 'i2', 'i3', 'ic')
  settled(lane, session)
end
if events_at_most ~= '0' then call('HSET', s, 'lm', events_at_most) end
call('ZADD', P .. 'pend:' .. lane, now + wait_ms, session)
local tail = proceed(lane, token, mode, max_events, max_bytes, now)
return { 1, tail[1], tail[2] }
