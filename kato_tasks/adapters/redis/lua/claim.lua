-- claim: what a task does on arrival: find its result, or take its lane, or park in it.
-- ARGV: 1 lane, 2 session, 3 event_id, 4 position, 5 task id, 6 request (JSON), 7 token or '' (never lease),
--       8 lease ms, 9 events and 10 bytes at most in a piece of work.
-- Returns { 'result', json } | { 'applied' } (long ago: its result expired) | { 'work', work } | { 'parked' }.
local now = now_ms()
even_if_full()
local lane, session, event_id, token = ARGV[1], ARGV[2], ARGV[3], ARGV[7]
local key = event_id .. '\n' .. session
local result = call('GET', P .. 'r:' .. key)
if result then return { 'result', result } end
local position = tonumber(ARGV[4])
if position > 0 and position <= tonumber(call('HGET', P .. 's:' .. session, 'cur') or 0) then
  return { 'applied' }
end
if token ~= '' and call('SET', P .. 'lease:' .. lane, token, 'NX', 'PX', ARGV[8]) then
  call('ZADD', P .. 'ready', now + tonumber(ARGV[8]), lane)
  local work = next_work(lane, token, session, tonumber(ARGV[9]), tonumber(ARGV[10]), now)
  if work then return { 'work', work } end
  release(lane)
end
if ARGV[5] == "" then return { "busy" } end
call('HSET', P .. 'w:' .. key, ARGV[5], ARGV[6])
return { 'parked' }
