-- park: this session waits for a person; the lane goes on with its others.
-- ARGV: 1 lane, 2 token, 3 lease ms, 4 session, 5 why (JSON), 6 next or release, 7 events and 8 bytes at most.
-- Returns { 1, due, work } or { 0 }: the lane was lost.
local now = now_ms()
local lane, session = ARGV[1], ARGV[4]
if not holds(lane, ARGV[2], tonumber(ARGV[3]), now) then return { 0 } end
-- The session may be parked because its very hash is none: it still leaves the lane's turns.
redis.pcall('HSET', P .. 's:' .. session, 'pk', ARGV[5])
call('SADD', P .. 'parked', session)
call('ZREM', P .. 'pend:' .. lane, session)
call('ZREM', P .. 'failing', session)
local tail = proceed(lane, ARGV[2], ARGV[6], tonumber(ARGV[7]), tonumber(ARGV[8]), now)
return { 1, tail[1], tail[2] }
