-- commit: the outcome of a call is known: results, cursor, binding, the lane's numbering, in one step.
-- ARGV: 1 lane, 2 token, 3 lease ms, 4 session, 5 call id, 6 cursor from, 7 cursor to, 8 binding ('-' as it
--       is, '' none), 9 mark ('-' as it is), 10 next or release, 11 events and 12 bytes at most in the next
--       piece of work, 13 how long results are kept (ms), 14 number of results, 15 of symbol rows,
--       16 of dead letters, 17 event_id of the predict that is answered or '', 18 learned pattern or '',
--       19 its frequency, 20 why the session is parked at this commit (JSON) or '', 21 1: a learn,
--       22 1: the KATO session was another session's until the intent that this closes,
--       23 the run of the store, if that frequency is certain, '' it is not, '-' none of the lane's is;
--       then results as event_id, json; symbol rows as position, json; dead letters as id, json.
-- Returns { 1, due, work, waiters } with waiters { event_id, result, { task id, request, … } } lists;
--   { 0 }: the lane was lost; { -1 }: the cursor is elsewhere. A repeat of the last commit gets its answer again.
local now = now_ms()
local lane, token, session, call_id = ARGV[1], ARGV[2], ARGV[4], ARGV[5]
if not holds(lane, token, tonumber(ARGV[3]), now) then return { 0 } end
local s = P .. 's:' .. session
local h = call('HMGET', s, 'cur', 'lc', 'ic', 'wt', 'head', 'node')
local from, to = tonumber(ARGV[6]), tonumber(ARGV[7])
local repeated = h[2] == call_id
-- Events that a task came to wait for while this was under way: nobody made a result for it.
local late = {}
if h[4] and not repeated and to > from then
  for i, entry in ipairs(call('LRANGE', P .. 'log:' .. session, from - h[5], to - h[5] - 1)) do
    local event_id = string.match(entry, '^[^\n]*\n([^\n]*)')
    local answer = { status = 'applied', session_id = session, node_id = h[6] or '', event_id = event_id,
      position = from + i }
    if call('EXISTS', P .. 'w:' .. event_id .. '\n' .. session) == 1 then late[event_id] = cjson.encode(answer) end
  end
end
if not repeated then
  if tonumber(h[1]) ~= from or (h[3] and h[3] ~= call_id) then return { -1 } end
  settled(lane, session)
  call('HDEL', s, 'i0', 'i1', 'i2', 'i3', 'ic', 'att', 'un', 'err', 'cr', 'ka', 'ft', 'rf', 'pa', 'pt')
  call('HSET', s, 'cur', to, 'lc', call_id)
  if h[4] and to >= tonumber(h[4]) then call('HDEL', s, 'wt') end
  -- A store that went back forgot who gave that KATO session up, and may have it bound there: never to two.
  local binding = ARGV[8]
  if ARGV[22] == '1' and not h[3] then binding = '' end
  if binding ~= '-' then set_binding(session, binding) end
  -- After a halved batch went through, the next may be twice as large again.
  local lm = tonumber(call('HGET', s, 'lm') or 0) or 0
  if lm * 2 >= tonumber(ARGV[11]) then call('HDEL', s, 'lm') elseif lm > 0 then call('HSET', s, 'lm', lm * 2) end
  if ARGV[9] ~= '-' then
    call('HSET', s, 'mark', ARGV[9])
    call('DEL', P .. 'vec:' .. session)
    call('HDEL', s, 'ro')
  end
  if to > from then
    call('HSET', s, 'at', now)
    local seq = call('HINCRBY', P .. 'lane:' .. lane, 'seq', to - from)
    call('RPUSH', P .. 'order:' .. lane,
      (seq - (to - from) + 1) .. ' ' .. (from + 1) .. ' ' .. to .. ' ' .. now .. '\n' .. session)
    call('HINCRBY', P .. 'stats', 'applied', to - from)
    -- Whoever keeps no account of learns (another version) leaves the old number here, and so none of it holds.
    local certain = P .. 'certain:' .. lane
    local kept = call('HGET', certain, 'seq')
    if kept and (tonumber(kept) ~= seq - (to - from) or ARGV[23] == '-' or call('HLEN', certain) > 1000) then
      call('DEL', certain)
      kept = nil
    end
    if ARGV[18] ~= '' and ARGV[23] == '' then call('HDEL', certain, ARGV[18]) end
    if ARGV[18] ~= '' and ARGV[23] ~= '' and ARGV[23] ~= '-' then
      call('HSET', certain, 'seq', seq, ARGV[18], ARGV[19] .. ' ' .. now .. ' ' .. ARGV[23])
      call('PEXPIRE', certain, 600000)
    elseif kept then
      call('HSET', certain, 'seq', seq)
    end
  end
  if ARGV[17] ~= '' then
    local ask = call('LINDEX', P .. 'asks:' .. session, 0)
    if ask and string.match(ask, '^%d+\n(.*)$') == ARGV[17] then call('LPOP', P .. 'asks:' .. session) end
    call('HDEL', P .. 'until:' .. session, ARGV[17])
  end
  if ARGV[21] == '1' then call('HSET', s, 'le', now) end
  if ARGV[20] ~= '' then
    call('HSET', s, 'pk', ARGV[20])
    call('SADD', P .. 'parked', session)
  end
  if ARGV[18] ~= '' then
    call('HSET', P .. 'lane:' .. lane, 'known', ARGV[18], 'le', now)
    local learned = P .. 'learned:' .. lane
    call('HSET', learned, ARGV[18], ARGV[19] .. ' ' .. now)
    call('PEXPIRE', learned, 2000)
  end
end
local at, waiters = 24, {}
local function answer(event_id, result)
  local key = event_id .. '\n' .. session
  call('SET', P .. 'r:' .. key, result, 'PX', ARGV[13])
  local parked = parked_requests(key)
  if #parked > 0 then
    call('ZADD', P .. 'owed', now, key)
    waiters[#waiters + 1] = { event_id, result, parked }
  end
end
for _ = 1, tonumber(ARGV[14]) do
  late[ARGV[at]] = nil
  answer(ARGV[at], ARGV[at + 1])
  at = at + 2
end
for event_id, result in pairs(late) do answer(event_id, result) end
for _ = 1, tonumber(ARGV[15]) do
  call('HSET', P .. 'vec:' .. session, ARGV[at], ARGV[at + 1])
  at = at + 2
end
for _ = 1, tonumber(ARGV[16]) do
  call('HSET', P .. 'dead', ARGV[at], ARGV[at + 1])
  at = at + 2
end
local nearly = requeue(lane, session, now)
local tail = proceed(lane, token, ARGV[10], tonumber(ARGV[11]), tonumber(ARGV[12]), now, nearly and session)
return { 1, tail[1], tail[2], waiters }
