-- flag_node: flag a lane's node for a rebuild, because its patterns are in doubt.
-- ARGV:
--   lane
-- Returns 1. Runs again harmlessly.
even_if_full()
call('HSET', P .. 'lane:' .. lane, 'rebuild_wanted', '1')
call('SADD', P .. 'wanted', lane)
return 1
