-- last_event: tell when the last event of a session was appended.
-- ARGV:
--   session
-- Returns ms, or -1 if it is not known.
-- The entry itself, which may be large, stays here. If the log no longer holds it, the time at which it was applied is
-- the nearest time that is known.
local entry = redis.pcall('LINDEX', P .. 'log:' .. session, -1)
local ms = type(entry) == 'string' and string.match(entry, '^%a%d(%d+)')
if not ms then
  ms = redis.pcall('HGET', P .. 's:' .. session, 'at')
end
return tonumber(type(ms) == 'string' and ms or -1) or -1
