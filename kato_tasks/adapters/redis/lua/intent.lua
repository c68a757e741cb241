-- intent: write down, under the token, the one changing call that is about to be sent.
-- ARGV: 1 lane, 2 token, 3 lease ms, 4 session, 5 call id, 6 cursor it starts from, 7 intent (JSON),
--       8 binding or '' (unchanged), 9 the call id of the intent it follows up, or '',
--       10 the pattern of a learn, or ''; and only where a session gives up its KATO session for this: 11 that session,
--       12 its binding, 13 the run of the store.
-- Returns 1; 0: the lane was lost; -1: another intent is open or the cursor is elsewhere; -2: that session is bound
--   otherwise, at work, parked, has an STM or something to do, so nothing was written.
local now = now_ms()
if not holds(ARGV[1], ARGV[2], tonumber(ARGV[3]), now) then return 0 end
local s = P .. 's:' .. ARGV[4]
local h = call('HMGET', s, 'cur', 'ic')
if h[1] ~= ARGV[6] then return -1 end
if h[2] and h[2] ~= ARGV[5] and h[2] ~= ARGV[9] then return -1 end
if ARGV[11] and h[2] ~= ARGV[5] then
  local a = redis.pcall('HMGET', P .. 's:' .. ARGV[11], 'b0', 'b1', 'b2', 'b3', 'cur', 'mark', 'head', 'ic', 'pk', 'lane')
  if a.err or text_at(a, 1) ~= ARGV[12] or a[8] or a[9] then return -2 end
  if a[5] ~= a[6] or a[5] ~= a[7] or a[10] ~= ARGV[1] or call('HEXISTS', s, 'b0') == 1 then return -2 end
  set_binding(ARGV[11], '')
  call('HSET', P .. 's:' .. ARGV[11], 'gr', ARGV[13])
end
call('HSET', s, 'ic', ARGV[5])
put_text(s, 'i', ARGV[7])
if ARGV[10] ~= '' then
  call('HSET', P .. 'unsettled:' .. ARGV[1], ARGV[10], ARGV[4])
  call('HSET', s, 'ul', ARGV[10])
end
if ARGV[8] ~= '' then
  call('HDEL', s, 'gr')
  set_binding(ARGV[4], ARGV[8])
  call('HDEL', s, 'cr')
end
return 1
