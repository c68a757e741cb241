-- park_by_hand: a person parks a session. What is under way for it is finished; nothing more is begun.
-- ARGV:
--   lane, session
--   why           JSON
-- Returns 1; 0: it was parked already.
even_if_full()
if call('HSETNX', P .. 's:' .. session, 'pk', why) == 0 then return 0 end
call('SADD', P .. 'parked', session)
call('ZREM', P .. 'pend:' .. lane, session)
call('ZREM', P .. 'failing', session)
if call('EXISTS', P .. 'lease:' .. lane) == 0 then release(lane) end
return 1
