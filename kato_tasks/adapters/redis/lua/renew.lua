-- renew: keep a lane while a call to KATO is under way.
-- ARGV:
--   lane, token, lease_ms: number
-- Returns 1; 0: the lane was lost.
return holds(lane, token, lease_ms, now_ms()) and 1 or 0
