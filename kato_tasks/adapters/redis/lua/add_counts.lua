-- add_counts: add to counts that nothing depends on.
-- KEYS:
--   counts           hash: name -> count
-- each of rows:
--   name, by         a count's name, and how much it grows
-- Returns nothing. Runs again: it counts again.
even_if_full()
for row = rows_first, rows_last, rows_step do
  call('HINCRBY', counts, ARGV[row + rows_name], ARGV[row + rows_by])
end
