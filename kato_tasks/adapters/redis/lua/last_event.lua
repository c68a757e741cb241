-- last_event: when the last event of a session was appended. ARGV: session. Returns ms, or -1: its log has none.
-- The entry itself, which may be large, stays here.
local entry = redis.pcall('LINDEX', P .. 'log:' .. ARGV[1], -1)
return tonumber(type(entry) == 'string' and string.match(entry, '^%a%d(%d+)') or -1)
