-- find_front: read what the KATO-shaped routes must know of a session.
-- ARGV:
--   session
-- Returns nil for a session that is not known; otherwise its row ('' for none), head, cursor, position before its STM,
--   and 1 when nothing of it waits or is under way.
local s = P .. 's:' .. session
local row = call('GET', P .. 'front:' .. session)
local h = call('HMGET', s, 'lane', 'head', 'cur', 'mark', 'ic')
if not row and not h[1] then return false end
local busy = h[5] or call('EXISTS', P .. 'asks:' .. session) == 1
return { row or '', tonumber(h[2] or 0) or 0, tonumber(h[3] or 0) or 0, tonumber(h[4] or 0) or 0, busy and 0 or 1 }
