-- delivered: a task was told its event's result. ARGV: 1 event_id, 2 session, 3 and 4 see told. Runs again harmlessly.
told(ARGV[1] .. '\n' .. ARGV[2], ARGV[3], ARGV[4])
return 1
