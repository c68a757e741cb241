-- take_or_wait: serve a task on its arrival: find its result, lease its lane, or let the task wait in the lane.
-- ARGV:
--   lane, session, event_id, position: number
--   kind                  what stands in for a position (see `standing` in _lib.lua)
--   task_id               '': only look
--   request               the request that is to wait (JSON)
--   token                 '': lease nothing
--   lease_ms: number
--   max_events: number, max_bytes: number    of a piece of work
--   max_waiting: number    the most requests of one event that may wait
-- Returns { 'result', json } | { 'applied', node } (its result expired) | { 'dead', letter } | { 'unknown', '' }: the
--   store has no such event | { 'work', work } | { 'parked' } | { 'full' } | { 'busy',
--   cursor, what its session's last try met or '', 1 if it is parked, now, ms at which it is due } (without a task id).
local now = now_ms()
even_if_full()
local key = event_id .. '\n' .. session
local result = call('GET', P .. 'r:' .. key)
if result then return { 'result', result } end
local where, found
if position > 0 and position <= tonumber(call('HGET', P .. 's:' .. session, 'cur') or 0) then
  where, found = standing(session, event_id, position, kind, now)
  return { where, found }
end
if token ~= '' and call('SET', P .. 'lease:' .. lane, token, 'NX', 'PX', lease_ms) then
  call('ZADD', P .. 'ready', now + lease_ms, lane)
  local work = next_work(lane, token, session, max_events, max_bytes, now)
  if work then return { 'work', work } end
  release(lane)
end
where, found = standing(session, event_id, position, kind, now)
if where ~= 'waiting' then return { where, found } end
if task_id == '' then
  -- This is what a person is told who asks why the event waits.
  local stands = call('HMGET', P .. 's:' .. session, 'cur', 'err', 'pk')
  local due = tonumber(call('ZSCORE', P .. 'pend:' .. lane, session) or 0) or 0
  return { 'busy', tonumber(stands[1] or 0) or 0, stands[2] or '', stands[3] and 1 or 0, now, due }
end
local w = P .. 'w:' .. key
if call('HLEN', w) >= max_waiting and call('HEXISTS', w, task_id) == 0 then return { 'full' } end
call('HSET', w, task_id, request)
call('ZADD', P .. 'waiting', now, key)
if string.sub(found, 2, 2) == '0' then
  -- The event was appended without a caller. From now on it has one, and a call that is under way looks at `wt` when it
  -- commits.
  local s = P .. 's:' .. session
  local state = call('HMGET', s, 'head', 'wt')
  call('LSET', P .. 'log:' .. session, position - state[1] - 1, string.sub(found, 1, 1) .. '1' .. string.sub(found, 3))
  if position > tonumber(state[2] or 0) then call('HSET', s, 'wt', position) end
end
return { 'parked' }
