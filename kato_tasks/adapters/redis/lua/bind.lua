-- bind: let a rebuilt KATO session serve from now on, and close the open intent.
-- ARGV:
--   lane, token, lease_ms: number
--   session
--   cursor        the position that the rebuild reached
--   binding       '' if there is no binding
--   closes_call   call id of the open intent that is closed, or ''
--   events_at_most  the most events that the session's next call may hold; 0: the limit stays
--   ltm_lost      1: KATO lost its store
--   reordered     how many events of its STM are in another order than KATO made them in
-- each of symbols:
--   position, names    a position and its symbols (JSON)
-- Returns 1; 0: the lane was lost; -1: the cursor is elsewhere or another intent is open.
local now = now_ms()
if not holds(lane, token, lease_ms, now) then return 0 end
local s = P .. 's:' .. session
local h = call('HMGET', s, 'cur', 'ic')
if h[1] ~= cursor then return -1 end
if h[2] and h[2] ~= closes_call then return -1 end
call('HDEL', s, 'i0', 'i1', 'i2', 'i3', 'ic', 'cr', 'rf')
settled(lane, session)
if ltm_lost == '1' then
  call('HSET', P .. 'lane:' .. lane, 'ltm_lost', now)
  call('SADD', P .. 'ltm_lost', lane)
  call('DEL', P .. 'certain:' .. lane)
end
call('HDEL', s, 'gr')
set_binding(session, binding)
if reordered ~= '0' then call('HSET', s, 'ro', reordered) else call('HDEL', s, 'ro') end
for at = symbols_first, symbols_last, symbols_step do
  call('HSET', P .. 'vec:' .. session, ARGV[at + symbols_position], ARGV[at + symbols_names])
end
if events_at_most ~= '0' then call('HSET', s, 'lm', events_at_most) end
return 1
