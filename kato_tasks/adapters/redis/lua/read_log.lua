-- read_log: read a run of a session's log.
-- ARGV:
--   session
--   first: number, last: number    positions, both included
-- Returns the position up to which the log was trimmed, and the entries from the later one of `first` and the position
--   after it.
local trimmed = tonumber(call('HGET', P .. 's:' .. session, 'tr') or 0)
local from = math.max(first - trimmed, 1)
if last - trimmed < from then return { trimmed, {} } end
return { trimmed, call('LRANGE', P .. 'log:' .. session, from - 1, last - trimmed - 1) }
