-- drop_predictions: forget predictions that were sent to a sink.
-- ARGV:
--   sink
--   first            id of the first of them
--   count: number    how many they are
-- Returns 1; 0: another one comes first, so another sender has sent these. Runs again harmlessly.
even_if_full()
local rows = P .. 'sink:' .. sink
local row = call('LINDEX', rows, 0)
if not row or cjson.decode(row)[1] ~= first then return 0 end
call('LTRIM', rows, count, -1)
return 1
