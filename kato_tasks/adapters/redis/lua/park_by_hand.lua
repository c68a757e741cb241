-- park_by_hand: park a session at a person's word. A call that is under way for it is finished, and no other is begun.
-- ARGV:
--   lane, session
--   why           JSON
-- Returns 1; 0: the session was parked already.
even_if_full()
if call('HSETNX', P .. 's:' .. session, 'pk', why) == 0 then return 0 end
call('SADD', P .. 'parked', session)
call('ZREM', P .. 'pend:' .. lane, session)
call('ZREM', P .. 'failing', session)
if call('EXISTS', P .. 'lease:' .. lane) == 0 then release(lane) end
return 1
