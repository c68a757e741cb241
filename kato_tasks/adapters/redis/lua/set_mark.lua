-- set_mark: set a mark that expires.
-- KEYS:
--   mark
-- ARGV:
--   ms: number    for how long it stands
-- Returns 1; 0: it stands already.
even_if_full()
if call('SET', mark, '1', 'NX', 'PX', ms) then return 1 end
-- It stands for longer than it was set for: the clock went back meanwhile.
local stale = call('PTTL', mark) > ms
if stale then call('SET', mark, '1', 'PX', ms) end
return stale and 1 or 0
