-- take_lane: lease one lane by its name, whether or not anything of it is due. No session becomes due by this.
-- ARGV:
--   lane, token, lease_ms: number
-- Returns 1; 0: another holder has it. Runs again harmlessly: the holder's lease is renewed.
-- The lane is in `ready` with the end of the lease, so that what comes meanwhile is found if this holder dies.
local now = now_ms()
even_if_full()
if holds(lane, token, lease_ms, now) then return 1 end
if not call('SET', P .. 'lease:' .. lane, token, 'NX', 'PX', lease_ms) then return 0 end
call('ZADD', P .. 'ready', now + lease_ms, lane)
return 1
