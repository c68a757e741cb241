-- give_lane_back: end a lease. What is pending in the lane is due again.
-- ARGV:
--   lane, token, lease_ms: number
-- Returns the ms at which the lane is due, or -1 if nothing is pending in it; -2: the token does not own the lane (any
--   more), and nothing was done.
local now = now_ms()
even_if_full()
if not holds(lane, token, lease_ms, now) then return -2 end
return proceed(lane, token, 'release', 0, 0, now)[1]
