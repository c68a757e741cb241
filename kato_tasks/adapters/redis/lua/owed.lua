-- owed: parked requests whose result has been there for a while and that nobody completed (their holder died).
-- ARGV: 1 age (ms), 2 how many. Each is put back to now, so that two sweeps do not both take it.
-- Returns { { session, event_id, result, task id, request, … }, … }.
local now = now_ms()
even_if_full()
local out = {}
for _, key in ipairs(call('ZRANGEBYSCORE', P .. 'owed', '-inf', now - tonumber(ARGV[1]), 'LIMIT', 0, ARGV[2])) do
  local event_id, session = string.match(key, '^([^\n]*)\n(.*)$')
  local result = call('GET', P .. 'r:' .. key)
  local parked = call('HGETALL', P .. 'w:' .. key)
  if result and #parked > 0 then
    call('ZADD', P .. 'owed', now, key)
    out[#out + 1] = { session, event_id, result, unpack(parked) }
  else
    call('ZREM', P .. 'owed', key)
  end
end
return out
