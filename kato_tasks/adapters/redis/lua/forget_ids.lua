-- forget_ids: forget that event ids of a session were seen.
-- ARGV:
--   session
-- each of ids:
--   bucket, known  a dedupe bucket, and an event id that it remembers
-- Returns nothing. Runs again harmlessly.
even_if_full()
for row = ids_first, ids_last, ids_step do
  call('HDEL', P .. 'ids:' .. ARGV[row + ids_bucket], ARGV[row + ids_known] .. '\n' .. session)
end
