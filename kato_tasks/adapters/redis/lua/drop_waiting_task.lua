-- drop_waiting_task: forget a waiting request that was completed.
-- ARGV:
--   event_id, session, task_id
--   told_ms, told_bytes    see `told`
-- Returns 1. Runs again harmlessly.
local key = event_id .. '\n' .. session
call('HDEL', P .. 'w:' .. key, task_id)
if call('EXISTS', P .. 'w:' .. key) == 0 then
  call('ZREM', P .. 'owed', key)
  call('ZREM', P .. 'waiting', key)
  told(key, told_ms, told_bytes)
end
return 1
