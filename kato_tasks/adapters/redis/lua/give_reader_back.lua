-- give_reader_back: give the right to read a source back, if the token has it.
-- KEYS:
--   reader
-- ARGV:
--   token
-- Returns nothing. Runs again harmlessly.
if call('GET', reader) == token then call('DEL', reader) end
