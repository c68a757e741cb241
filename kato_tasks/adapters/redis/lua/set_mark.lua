-- set_mark: set a mark that expires.
-- KEYS:
--   mark
-- ARGV:
--   ms: number    how long the mark stands
-- Returns 1; 0: the mark stands already.
even_if_full()
if call('SET', mark, '1', 'NX', 'PX', ms) then return 1 end
-- A mark that stands for longer than it was set for shows that the clock went back meanwhile.
local stale = call('PTTL', mark) > ms
if stale then call('SET', mark, '1', 'PX', ms) end
return stale and 1 or 0
