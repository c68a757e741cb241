-- forget_session: erase a session that has nothing left to do, and what its lane's partition holds of it.
-- ARGV:
--   lane, token, lease_ms: number
--   session
--   whole          1: no other session is known of the lane, so the lane goes, too
-- each of ids:
--   bucket, known  a dedupe bucket, and an event id that it remembers
-- each of results:
--   event_id       of a result that is kept, or of requests that wait for one
-- each of letters:
--   letter         the name of a dead letter
-- Returns 1; 2: it has events or predicts that are not applied; 3: an intent is open; -1: the token does not own the
--   lane. Nothing was done then. Runs again harmlessly.
even_if_full()
if not holds(lane, token, lease_ms, now_ms()) then return -1 end
local s = P .. 's:' .. session
local h = call('HMGET', s, 'head', 'cur', 'ic', 'ul', 'lane')
if (tonumber(h[1] or 0) or 0) > (tonumber(h[2] or 0) or 0) or call('EXISTS', P .. 'asks:' .. session) == 1 then return 2 end
if h[3] or h[4] then return 3 end
call('DEL', s, P .. 'log:' .. session, P .. 'until:' .. session, P .. 'vec:' .. session,
  P .. 'front:' .. session)
for _, name in ipairs({ 'since', 'exp', 'failing', 'pend:' .. lane }) do call('ZREM', P .. name, session) end
call('SREM', P .. 'parked', session)
for row = ids_first, ids_last, ids_step do
  call('HDEL', P .. 'ids:' .. ARGV[row + ids_bucket], ARGV[row + ids_known] .. '\n' .. session)
end
for row = results_first, results_last, results_step do
  local key = ARGV[row + results_event_id] .. '\n' .. session
  call('DEL', P .. 'r:' .. key, P .. 'w:' .. key)
  call('ZREM', P .. 'owed', key)
  call('ZREM', P .. 'waiting', key)
end
for row = letters_first, letters_last, letters_step do call('HDEL', P .. 'dead', ARGV[row + letters_letter]) end
if whole ~= '1' or call('EXISTS', P .. 'pend:' .. lane) == 1 then return 1 end
for _, commit in ipairs(call('LRANGE', P .. 'order:' .. lane, 0, -1)) do
  if not string.find(commit, '\n$') then return 1 end
end
-- The lease stays until it is given back, which takes the lane out of `ready`.
call('DEL', P .. 'lane:' .. lane, P .. 'order:' .. lane, P .. 'learned:' .. lane, P .. 'certain:' .. lane,
  P .. 'unsettled:' .. lane)
for _, names in ipairs({ 'ltm_lost', 'wanted', 'unreadable', 'unarchived' }) do call('SREM', P .. names, lane) end
call('HDEL', P .. 'ltm_known', lane)
return 1
