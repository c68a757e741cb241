-- mark: set a mark that expires. KEYS[1] the mark. ARGV: 1 ms. Returns 1; 0: it stands already.
even_if_full()
if call('SET', KEYS[1], '1', 'NX', 'PX', ARGV[1]) then return 1 end
-- It stands for longer than it was set for: the clock went back meanwhile.
local stale = call('PTTL', KEYS[1]) > tonumber(ARGV[1])
if stale then call('SET', KEYS[1], '1', 'PX', ARGV[1]) end
return stale and 1 or 0
