-- commit: record the known outcome of a call in one step: results, cursor, binding and the lane's numbering.
-- ARGV:
--   lane, token, lease_ms: number
--   session, call_id
--   cursor: number, cursor_to: number    the session's cursor before and after
--   binding          '-' leaves it as it is, '' removes it
--   stm_start        '-' leaves it as it is
--   mode             next or release
--   max_events: number, max_bytes: number    of the next piece of work
--   result_ms        how long results are kept
--   predict_id       event_id of the predict that is answered, or ''
--   pattern          the pattern that was learned, or ''
--   frequency        of that pattern
--   certain_run      the run of the store if that frequency is certain; '': it is not; '-': no frequency of the lane is
--   parked_why       why the session is parked at this commit (JSON), or ''
--   is_learn         1: the call was a learn
--   borrowed         1: the KATO session was another session's until the intent that this closes
--   archiving        1: there is an archive, for which the lane is noted
--   sink             the sink that the answer to the predict goes to, or ''
--   prediction       that answer (JSON)
-- each of results:
--   event_id, result      JSON
-- each of symbols:
--   position, names       a position and its symbols (JSON)
-- each of letters:
--   id, letter            a dead letter (JSON)
-- Returns { 1, due, work, waiters } where waiters is a list of { event_id, result, { task id, request, … } };
--   { 0 }: the lane was lost; { -1 }: the cursor is elsewhere. A repeat of the last commit gets its answer again.
local now = now_ms()
if not holds(lane, token, lease_ms, now) then return { 0 } end
local s = P .. 's:' .. session
local h = call('HMGET', s, 'cur', 'lc', 'ic', 'wt', 'head', 'node', 'err')
local repeated = h[2] == call_id

local function drop_before_stm(name)
  local at = call('HMGET', P .. 's:' .. name, 'mark', 'tr')
  local mark, trimmed = tonumber(at[1] or 0), tonumber(at[2] or 0)
  if mark <= trimmed then return end
  call('LTRIM', P .. 'log:' .. name, mark - trimmed, -1)
  call('HSET', P .. 's:' .. name, 'tr', mark)
end

-- These events were under way when a task came to wait for them, so the caller made no results for them.
local late = {}
if h[4] and not repeated and cursor_to > cursor then
  for i, entry in ipairs(call('LRANGE', P .. 'log:' .. session, cursor - h[5], cursor_to - h[5] - 1)) do
    local event_id = string.match(entry, '^[^\n]*\n([^\n]*)')
    local answer = { status = 'applied', session_id = session, node_id = h[6] or '', event_id = event_id,
      position = cursor + i }
    if call('EXISTS', P .. 'w:' .. event_id .. '\n' .. session) == 1 then late[event_id] = cjson.encode(answer) end
  end
end
if not repeated then
  if tonumber(h[1]) ~= cursor or (h[3] and h[3] ~= call_id) then return { -1 } end
  settled(lane, session)
  call('HDEL', s, 'i0', 'i1', 'i2', 'i3', 'ic', 'att', 'un', 'err', 'cr', 'ka', 'ft', 'rf', 'pa', 'pt')
  if h[7] then call('ZREM', P .. 'failing', session) end
  call('HSET', s, 'cur', cursor_to, 'lc', call_id)
  if h[4] and cursor_to >= tonumber(h[4]) then call('HDEL', s, 'wt') end
  -- A store that went back forgot which session gave up that KATO session, and may still have it bound there. A KATO
  -- session must never be bound to two sessions.
  if borrowed == '1' and not h[3] then binding = '' end
  if binding ~= '-' then set_binding(session, binding) end
  -- After a halved batch went through, the next batch may be twice as large.
  local lm = tonumber(call('HGET', s, 'lm') or 0) or 0
  if lm * 2 >= max_events then call('HDEL', s, 'lm') elseif lm > 0 then call('HSET', s, 'lm', lm * 2) end
  if stm_start ~= '-' then
    call('HSET', s, 'mark', stm_start)
    call('DEL', P .. 'vec:' .. session)
    call('HDEL', s, 'ro')
  end
  if cursor_to > cursor then
    call('HSET', s, 'at', now)
    local seq = call('HINCRBY', P .. 'lane:' .. lane, 'seq', cursor_to - cursor)
    if call('HEXISTS', P .. 'lane:' .. lane, 'rp') == 1 then
      -- What a replay copied is history elsewhere. Only a rebuild of the STM needs the copy.
      drop_before_stm(session)
    else
      call('RPUSH', P .. 'order:' .. lane,
        (seq - (cursor_to - cursor) + 1) .. ' ' .. (cursor + 1) .. ' ' .. cursor_to .. ' ' .. now
          .. (letters_last >= letters_first and ' d' or '') .. '\n' .. session)
      if archiving == '1' then call('SADD', P .. 'unarchived', lane) end
    end
    call('HINCRBY', P .. 'stats', 'applied', cursor_to - cursor)
    call('HSET', P .. 'stats', 'moved', now)
    -- Another version, which keeps no account of learns, leaves the old number here. The account is then void.
    local certain = P .. 'certain:' .. lane
    local kept = call('HGET', certain, 'seq')
    if kept and (tonumber(kept) ~= seq - (cursor_to - cursor) or certain_run == '-' or call('HLEN', certain) > 1000) then
      call('DEL', certain)
      kept = nil
    end
    if pattern ~= '' and certain_run == '' then call('HDEL', certain, pattern) end
    if pattern ~= '' and certain_run ~= '' and certain_run ~= '-' then
      call('HSET', certain, 'seq', seq, pattern, frequency .. ' ' .. now .. ' ' .. certain_run)
      call('PEXPIRE', certain, 600000)
    elseif kept then
      call('HSET', certain, 'seq', seq)
    end
  end
  if predict_id ~= '' then
    local ask = call('LINDEX', P .. 'asks:' .. session, 0)
    if ask and string.match(ask, '^%d+\n(.*)$') == predict_id then call('LPOP', P .. 'asks:' .. session) end
    call('HDEL', P .. 'until:' .. session, predict_id)
    if sink ~= '' then
      -- The event goes with it while the log has it; later only the archive does.
      local trimmed = tonumber(call('HGET', s, 'tr') or 0) or 0
      local entry = cursor_to > trimmed and call('LINDEX', P .. 'log:' .. session, cursor_to - 1 - trimmed) or ''
      call('RPUSH', P .. 'sink:' .. sink, cjson.encode({ predict_id, session, cursor_to, now, entry, prediction }))
    end
  end
  if is_learn == '1' then call('HSET', s, 'le', now) end
  if parked_why ~= '' then
    call('HSET', s, 'pk', parked_why)
    call('SADD', P .. 'parked', session)
  end
  if pattern ~= '' then
    local l = P .. 'lane:' .. lane
    call('HSET', l, 'le', now)
    -- One that was learned some time ago is visible at KATO, where the newest one may not be yet.
    if now - (tonumber(call('HGET', l, 'kn') or 0) or 0) > 600000 then call('HSET', l, 'known', pattern, 'kn', now) end
    local learned = P .. 'learned:' .. lane
    call('HSET', learned, pattern, frequency .. ' ' .. now)
    call('PEXPIRE', learned, 2000)
  end
end
local waiters = {}
local function answer(event_id, result)
  local key = event_id .. '\n' .. session
  call('SET', P .. 'r:' .. key, result, 'PX', result_ms)
  local parked = parked_requests(key)
  if #parked > 0 then
    call('ZADD', P .. 'owed', now, key)
    waiters[#waiters + 1] = { event_id, result, parked }
  end
end
for at = results_first, results_last, results_step do
  local event_id = ARGV[at + results_event_id]
  late[event_id] = nil
  answer(event_id, ARGV[at + results_result])
end
for event_id, result in pairs(late) do answer(event_id, result) end
for at = symbols_first, symbols_last, symbols_step do
  call('HSET', P .. 'vec:' .. session, ARGV[at + symbols_position], ARGV[at + symbols_names])
end
for at = letters_first, letters_last, letters_step do
  call('HSET', P .. 'dead', ARGV[at + letters_id], ARGV[at + letters_letter])
end
local nearly = requeue(lane, session, now)
local tail = proceed(lane, token, mode, max_events, max_bytes, now, nearly and session)
return { 1, tail[1], tail[2], waiters }
