-- orphaned_tasks: find waiting requests whose result has been there for a while but which were not completed, because
-- their holder died, and waiting requests that have waited for a while and would wait endlessly, because their event is
-- not where they look for it.
-- ARGV:
--   age_ms: number     how long a result has been owed
--   limit              the most requests of each kind
--   look_ms: number    how long ago a waiting request was last looked at
-- The time of each becomes now, so that two sweeps do not both take it.
-- Returns { { session, event_id, result or '' (the caller looks again), { task id, request, … } }, … }.
local now = now_ms()
even_if_full()
local out = {}
for _, key in ipairs(call('ZRANGEBYSCORE', P .. 'owed', '-inf', now - age_ms, 'LIMIT', 0, limit)) do
  local event_id, session = string.match(key, '^([^\n]*)\n(.*)$')
  local result = call('GET', P .. 'r:' .. key)
  local parked = parked_requests(key)
  if result and #parked > 0 then
    call('ZADD', P .. 'owed', now, key)
    out[#out + 1] = { session, event_id, result, parked }
  else
    call('ZREM', P .. 'owed', key)
    -- The result expired before it was handed over.
    if #parked > 0 then call('ZADD', P .. 'waiting', 'NX', now, key) end
  end
end
for _, key in ipairs(call('ZRANGEBYSCORE', P .. 'waiting', '-inf', now - look_ms, 'LIMIT', 0, limit)) do
  local task = call('HKEYS', P .. 'w:' .. key)[1]
  if not task then
    call('ZREM', P .. 'waiting', key)
  else
    call('ZADD', P .. 'waiting', now, key)
    if call('EXISTS', P .. 'r:' .. key) == 1 then
      call('ZADD', P .. 'owed', 'NX', now, key)
    else
      local event_id, session = string.match(key, '^([^\n]*)\n(.*)$')
      local readable, stored = pcall(cjson.decode, call('HGET', P .. 'w:' .. key, task))
      local request = readable and type(stored) == 'table' and stored.request
      local place = type(request) == 'table' and request.kato
      local position = type(place) == 'table' and tonumber(place.position)
      local whole = position and position >= 0 and position == math.floor(position)
      local kind = whole and (tonumber(place.due) or place.predict == true and 'p') or ''
      if not whole or standing(session, event_id, position, kind, now) ~= 'waiting' then
        out[#out + 1] = { session, event_id, '', parked_requests(key) }
      end
    end
  end
end
return out
