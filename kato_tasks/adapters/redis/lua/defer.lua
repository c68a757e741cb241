-- defer: this session waits (backoff, or a settling time); the lane goes on with its others.
-- ARGV: 1 lane, 2 token, 3 lease ms, 4 session, 5 wait ms, 6 attempts, 7 error text, 8 call id of an intent
--       that was certainly never sent, or '', 9 next or release, 10 events and 11 bytes at most in the next work,
--       12 how many events the session's next
--       call holds at most, or 0: as many as ever, 13 calls never sent in a row,
--       14 how often in a row its KATO session could not be rebuilt, or 0: as before.
-- Returns { 1, due, work } or { 0 }: the lane was lost.
local now = now_ms()
local lane, session = ARGV[1], ARGV[4]
if not holds(lane, ARGV[2], tonumber(ARGV[3]), now) then return { 0 } end
local s = P .. 's:' .. session
call('HSET', s, 'att', ARGV[6], 'un', ARGV[13], 'err', ARGV[7])
if ARGV[7] ~= '' then call('ZADD', P .. 'failing', 'NX', now, session) end
if ARGV[6] ~= '0' then call('HSETNX', s, 'ft', now) end
call('HDEL', s, 'cr', 'pa')
if ARGV[14] ~= '0' then call('HSET', s, 'rf', ARGV[14]) end
if ARGV[8] ~= '' and call('HGET', s, 'ic') == ARGV[8] then
  call('HDEL', s, 'i0', 'i1', 'i2', 'i3', 'ic')
  settled(lane, session)
end
if ARGV[12] ~= '0' then call('HSET', s, 'lm', ARGV[12]) end
call('ZADD', P .. 'pend:' .. lane, now + tonumber(ARGV[5]), session)
local tail = proceed(lane, ARGV[2], ARGV[9], tonumber(ARGV[10]), tonumber(ARGV[11]), now)
return { 1, tail[1], tail[2] }
