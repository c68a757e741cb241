-- certain: read a pattern's frequency as the lane's learns left it.
-- ARGV:
--   lane, pattern
-- Returns "<frequency> <ms> <run>", or false if it is unknown or something was applied of which no account was kept.
local h = call('HMGET', P .. 'certain:' .. lane, 'seq', pattern)
return h[1] and h[1] == call('HGET', P .. 'lane:' .. lane, 'seq') and h[2]
