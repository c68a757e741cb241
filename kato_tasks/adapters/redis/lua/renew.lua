-- renew: keep a lane while a call to KATO is under way. ARGV: 1 lane, 2 token, 3 lease ms. Returns 1, or 0: lost.
return holds(ARGV[1], ARGV[2], tonumber(ARGV[3]), now_ms()) and 1 or 0
