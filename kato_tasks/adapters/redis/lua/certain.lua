-- certain: a pattern's frequency as the lane's learns left it. ARGV: 1 lane, 2 pattern.
-- Returns "<frequency> <ms> <run>", or false: unknown, or something was applied that no account was kept of.
local h = call('HMGET', P .. 'certain:' .. ARGV[1], 'seq', ARGV[2])
return h[1] and h[1] == call('HGET', P .. 'lane:' .. ARGV[1], 'seq') and h[2]
