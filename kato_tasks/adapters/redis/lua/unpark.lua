-- unpark: a parked request was completed. ARGV: 1 event_id, 2 session, 3 task id, 4 and 5 see told. Returns 1.
-- Runs again harmlessly.
local key = ARGV[1] .. '\n' .. ARGV[2]
call('HDEL', P .. 'w:' .. key, ARGV[3])
if call('EXISTS', P .. 'w:' .. key) == 0 then
  call('ZREM', P .. 'owed', key)
  call('ZREM', P .. 'waiting', key)
  told(key, ARGV[4], ARGV[5])
end
return 1
