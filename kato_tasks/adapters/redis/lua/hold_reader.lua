-- hold_reader: take the right to read a source, or keep it.
-- KEYS:
--   reader
-- ARGV:
--   token, keep_ms: number
-- Returns 1 if the token has it now; 0 if another one has it. Runs again harmlessly.
even_if_full()
local holder = call('GET', reader)
if holder and holder ~= token then return 0 end
call('SET', reader, token, 'PX', keep_ms)
return 1
