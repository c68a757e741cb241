-- switch_generation: from now on tell KATO another node for all sessions of a lane.
-- ARGV:
--   lane, token, lease_ms: number
--   generation         the node; '' for each session's own
--   from_generation    what it has to be now
--   known_pattern      a pattern that KATO certainly has on that node, or ''
-- Returns 1; 0: the lane was lost; -1: the lane's generation is neither of the two; -2: an intent is open in the lane.
-- Runs again harmlessly: the switch that was made stays, with what the lane came to know of its node since.
local now = now_ms()
if not holds(lane, token, lease_ms, now) then return 0 end
local l = P .. 'lane:' .. lane
local present = call('HGET', l, 'gen') or ''
if present ~= from_generation then return present == generation and 1 or -1 end
if #open_intents(lane, 1) > 0 then return -2 end
-- These speak of the node before.
call('DEL', P .. 'certain:' .. lane, P .. 'learned:' .. lane, P .. 'unsettled:' .. lane)
call('HDEL', l, 'gen', 'known', 'kn', 'ltm_lost', 'rebuild_wanted')
call('SREM', P .. 'ltm_lost', lane)
call('HDEL', P .. 'ltm_known', lane)
call('SREM', P .. 'wanted', lane)
-- KATO may not show yet what the node learned last, so predicts wait as they do after a learn of the lane.
call('HSET', l, 'le', now)
if generation ~= '' then call('HSET', l, 'gen', generation) end
if known_pattern ~= '' then call('HSET', l, 'known', known_pattern, 'kn', now) end
return 1
