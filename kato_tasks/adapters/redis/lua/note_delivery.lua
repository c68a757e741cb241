-- note_delivery: note that a task was told its event's result.
-- ARGV:
--   event_id, session
--   told_ms, told_bytes    see `told`
-- Returns 1. Runs again harmlessly.
told(event_id .. '\n' .. session, told_ms, told_bytes)
return 1
