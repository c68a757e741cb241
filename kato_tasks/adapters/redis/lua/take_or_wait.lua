-- take_or_wait: what a task does on arrival: find its result, or take its lane, or park in it.
-- ARGV:
--   lane, session, event_id, position: number
--   kind                  what stands in for a position (see `standing`)
--   task_id               '': look only
--   request               what is parked (JSON)
--   token                 '': never lease
--   lease_ms: number
--   max_events: number, max_bytes: number    of a piece of work
--   most_parked: number    how many requests of one event are parked at most
-- Returns { 'result', json } | { 'applied', node } (its result expired) | { 'dead', letter } | { 'unknown', '' }: the
--   store has no such event | { 'work', work } | { 'parked' } | { 'full' } | { 'busy',
--   cursor, what its session's last try met or '', 1 if it is parked, now, ms at which it is due } (no task id was given).
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
  -- What a person is told who asks why it waits.
  local stands = call('HMGET', P .. 's:' .. session, 'cur', 'err', 'pk')
  local due = tonumber(call('ZSCORE', P .. 'pend:' .. lane, session) or 0) or 0
  return { 'busy', tonumber(stands[1] or 0) or 0, stands[2] or '', stands[3] and 1 or 0, now, due }
end
local w = P .. 'w:' .. key
if call('HLEN', w) >= most_parked and call('HEXISTS', w, task_id) == 0 then return { 'full' } end
call('HSET', w, task_id, request)
call('ZADD', P .. 'waiting', now, key)
if string.sub(found, 2, 2) == '0' then
  -- It was appended without a caller. From now on it has one; and what is under way looks at `wt` when it commits.
  local s = P .. 's:' .. session
  local state = call('HMGET', s, 'head', 'wt')
  call('LSET', P .. 'log:' .. session, position - state[1] - 1, string.sub(found, 1, 1) .. '1' .. string.sub(found, 3))
  if position > tonumber(state[2] or 0) then call('HSET', s, 'wt', position) end
end
return { 'parked' }
