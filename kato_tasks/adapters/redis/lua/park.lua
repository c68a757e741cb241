-- park: park this session until a person resumes it, while its lane goes on with the other sessions.
-- ARGV:
--   lane, token, lease_ms: number
--   session
--   why           JSON
--   mode          next or release
--   max_events: number, max_bytes: number    of the next piece of work
-- Returns { 1, due, work } or { 0 } if the lane was lost.
local now = now_ms()
if not holds(lane, token, lease_ms, now) then return { 0 } end
-- The session may be parked because its key holds no hash. It must leave the lane's turns even then.
redis.pcall('HSET', P .. 's:' .. session, 'pk', why)
call('SADD', P .. 'parked', session)
call('ZREM', P .. 'pend:' .. lane, session)
call('ZREM', P .. 'failing', session)
local tail = proceed(lane, token, mode, max_events, max_bytes, now)
return { 1, tail[1], tail[2] }
