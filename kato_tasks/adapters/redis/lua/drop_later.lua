-- drop_later: an event that was kept for later is in its log. ARGV: it, as it was kept. Runs again harmlessly.
call('ZREM', P .. 'later', ARGV[1])
call('HDEL', P .. 'later_places', redis.sha1hex((string.gsub(ARGV[1], '^%s+', ''))))
return 1
