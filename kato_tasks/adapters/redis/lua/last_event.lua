-- last_event: when the last event of a session was appended.
-- ARGV:
--   session
-- Returns ms, or -1: it is not known.
-- The entry itself, which may be large, stays here. Where the log does not hold it any more, when it was applied is
-- the nearest there is.
local entry = redis.pcall('LINDEX', P .. 'log:' .. session, -1)
local ms = type(entry) == 'string' and string.match(entry, '^%a%d(%d+)')
if not ms then
  ms = redis.pcall('HGET', P .. 's:' .. session, 'at')
end
return tonumber(type(ms) == 'string' and ms or -1) or -1
