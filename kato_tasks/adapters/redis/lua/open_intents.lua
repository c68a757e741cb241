-- open_intents: find the sessions of a lane of which a call to KATO is under way, or of unknown outcome.
-- ARGV:
--   lane
--   most: number    the most sessions that are named
-- Returns their ids.
return open_intents(lane, most)
