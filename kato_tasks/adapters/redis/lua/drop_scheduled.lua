-- drop_scheduled: forget an event that was kept for later and is in its log now.
-- ARGV:
--   payload    the event, as it was kept
-- Returns 1. Runs again harmlessly.
call('ZREM', P .. 'later', payload)
call('HDEL', P .. 'later_places', redis.sha1hex((string.gsub(payload, '^%s+', ''))))
return 1
