-- bind: a rebuilt KATO session serves from now on; an open intent is closed by it.
-- ARGV:
--   lane, token, lease_ms: number
--   session
--   cursor        that the rebuild reached
--   binding       '' none
--   closes_call   call id of the open intent that it closes, or ''
--   leftovers     how many KATO sessions were left over
--   events_at_most  how many events the session's next call holds at most; 0: as many as ever
--   ltm_lost      1: KATO lost its store
--   reordered     how many events of its STM are in another order than KATO made them in
-- each of symbols:
--   position, names    the symbols of a position (JSON)
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
if leftovers ~= '0' then call('HINCRBY', P .. 'stats', 'leftovers', leftovers) end
if events_at_most ~= '0' then call('HSET', s, 'lm', events_at_most) end
return 1
