-- Each script is loaded with this file in front of it, followed by the names of the script's slots, as they stand on
-- its calling card (adapters/redis/cards.py).
-- KEYS[1] is the prefix of the partition, kt:{pNNN}: . Its hash tag decides the Cluster slot, and every key that a
-- script touches begins with this prefix, so all of them lie in that slot.
--
-- The keys of a partition, the type of each, and what it holds:
--
--   nodes            hash    session -> node_id (kept in the partition of the SESSION's name)
--   ready            zset    lane -> ms at which it is due (while the lane is leased: when the lease ends)
--   lease:<lane>     string  fencing token; expires
--   lane:<lane>      hash    seq (how many events were applied in the lane), node (first node_id seen), known
--                            (a pattern that it learned), kn (ms since when that is known; it is replaced after
--                            10 minutes), le (ms of the last learn of any of its sessions),
--                            ltm_lost and rebuild_wanted (its patterns are in doubt), gen (the node that KATO is
--                            told for all sessions of the lane; the field is missing while that is each session's own),
--                            rp (the replay whose shadow lane this is)
--   shadow:<lane>    set     sessions of a shadow lane
--   order:<lane>     list    "<first seq> <from> <to> <ms>\n<session>" for each commit that is not archived; " d" behind
--                            the ms says that these events are dead letters; no session: it was forgotten
--   unarchived       set     lanes that have such commits, while there is an archive
--   pend:<lane>      zset    session that has something to do -> ms at which it is due
--   since            zset    session -> ms at which its oldest unapplied event was appended
--   s:<session>      hash    the state of the session; its fields are listed below
--   exp              zset    session that has an STM -> ms at which its KATO session expires
--   log:<session>    list    entries; the position after `tr` comes first
--   asks:<session>   list    "<after>\n<event_id>" of each predict, in order
--   until:<session>  hash    event_id of a predict -> ms after which its answer is no longer wanted (0: always), and
--                            behind a space what is read at KATO, where that is something else than its predictions,
--                            or `>` and the sink that the predictions go to
--   front:<session>  string  what a client of KATO's own API made the session with (JSON)
--   vec:<session>    hash    position -> symbols that KATO holds for vectors (JSON); null marks a dead letter
--   ids:<bucket>     hash    "<event_id>\n<session>" -> "<position> <digest>"; this is the dedupe window
--   windows          string  "<window ms>:<its newest bucket>" of each dedupe window that wrote ids lately
--   r:<event_id>\n<session>  string  result (JSON); expires
--   w:<event_id>\n<session>  hash    task id -> waiting Celery request (JSON)
--   learned:<lane>   hash    pattern -> "<frequency> <ms>" of the last learns; expires after 2 s
--   certain:<lane>   hash    pattern -> "<frequency> <ms> <run>", as the lane's own learns left it; seq -> how many
--                            events were applied in the lane then; expires
--   unsettled:<lane> hash    pattern -> session whose learn of it has an open outcome
--   owed             zset    "<event_id>\n<session>" of waiting requests whose result is there -> ms
--   waiting          zset    "<event_id>\n<session>" of waiting requests -> ms at which they were last looked at
--   later            zset    place and event that is to be appended (JSON) -> ms at which it is due
--   later_places     hash    sha1 of such an event -> its place among those due at the same ms; last: the last place
--   sink:<sink>      list    predictions on their way to a sink, each with its id, session, position, ms, the event's entry
--                            ('' where the archive has it) and KATO's answer (JSON)
--   outbox           list    task messages that could not be published (JSON)
--   dead             hash    id -> dead letter (JSON)
--   parked           set     sessions that wait for a person
--   failing          zset    session whose last try failed (it has `err`) -> ms at which the first of its tries failed
--   ltm_lost         set     lanes whose node's patterns KATO lost, until a person acknowledges the loss
--   wanted           set     lanes whose node's patterns are in doubt, until the node is rebuilt
--   ltm_known        hash    lane whose loss a person has acknowledged -> who did so, when and why (JSON)
--   unreadable       set     lanes whose own rows could not be read when they were last leased
--   stats            hash    appended applied fenced rebuilt reordered leftovers learns_unknown learns_in_doubt
--                            verified caught_up moved (ms of the last commit that applied something)
--
-- The fields of s:<session>:
--
--   lane             the lane of the session
--   node             its node_id
--   head             position of the last event in its log
--   cur              cursor: position of the last event that was applied
--   tr               positions up to this one are in the archive (or are copies of a replay), and no longer in its log
--   mark             position of the last event before its STM
--   b0 b1 b2 b3      the binding to its KATO session, in four pieces
--   i0 i1 i2 i3      the open intent, in four pieces
--   ic               call id of the open intent
--   lc               call id of the last commit
--   att              attempts at the event after the cursor
--   un               calls in a row that were never sent
--   err              what its last try met
--   pk               why it is parked (JSON); the field is missing while it is not
--   cr               token of the holder that creates a KATO session for it, while the creation is under way
--   lm               the most events that its next call may hold, after a batch failed without naming its culprit
--   ul               pattern of its unsettled learn
--   at               ms at which its last event was applied
--   le               ms of its last learn
--   ft               ms at which the event after the cursor failed for the first time
--   ka               1: its KATO session is to be written to, so that it does not expire
--   wt               the highest position whose event was appended without a task and then got one that waits for it
--   rf               rebuilds that failed in a row
--   gr               the run of the store in which the session gave up its KATO session to another session
--   pa               holders that took up its first predict, one after the other, and said nothing
--   pt               ms at which its first predict was taken up for the first time
--   ro               events that its KATO session holds in another order than KATO made them in
--   cf               what KATO is told of the session's own config (JSON); the field is missing where it has none
--
-- A script that fails in the middle is not undone. Therefore a script checks whatever could fail on a session's rows (a
-- type, a number) before it writes the first of them, and reads what it needs of them for its answer under pcall.
local P = KEYS[1]
local call = redis.call

local function now_ms()
  local t = call('TIME')
  return t[1] * 1000 + math.floor(t[2] / 1000)
end

-- A full store refuses a script whose FIRST write may take memory, and lets other scripts write what they have to.
-- Redis counts this write among those that free memory, and it does nothing, because the key never exists. The scripts
-- of drains begin with it, because drains make room.
local function even_if_full()
  call('PERSIST', P .. 'none')
end

-- Return whether this token still owns the lane. If it does, its lease is renewed for the full time.
local function holds(lane, token, lease_ms, now)
  if call('GET', P .. 'lease:' .. lane) ~= token then return false end
  call('PEXPIRE', P .. 'lease:' .. lane, lease_ms)
  call('ZADD', P .. 'ready', now + lease_ms, lane)
  return true
end

-- Write a text that may be long into four fields of a session's hash: 64 bytes in each, and the rest in the last. With
-- a longer field Redis gives up the compact form of the hash (hash-max-listpack-value), and the session costs twice as
-- much.
local function put_text(s, name, text)
  local part = string.sub
  call('HSET', s, name .. '0', part(text, 1, 64), name .. '1', part(text, 65, 128), name .. '2', part(text, 129, 192),
    name .. '3', part(text, 193))
end

-- Return the text whose four pieces HMGET put at `first` and after it.
local function text_at(fields, first)
  return (fields[first] or '') .. (fields[first + 1] or '') .. (fields[first + 2] or '') .. (fields[first + 3] or '')
end

-- Write the binding ('' removes it) and, if there is an STM to lose, when its KATO session expires.
local function set_binding(session, binding)
  if binding == '' then
    call('HDEL', P .. 's:' .. session, 'b0', 'b1', 'b2', 'b3', 'gr')
    call('ZREM', P .. 'exp', session)
    return
  end
  put_text(P .. 's:' .. session, 'b', binding)
  local read, fields = pcall(cjson.decode, binding)
  local length = read and type(fields) == 'table' and tonumber(fields[5])
  local expires = length and length > 0 and tonumber(fields[7])
  if expires then call('ZADD', P .. 'exp', expires, session) else call('ZREM', P .. 'exp', session) end
end

-- Note that the session's open learn is settled.
local function settled(lane, session)
  local pattern = call('HGET', P .. 's:' .. session, 'ul')
  if pattern then
    call('HDEL', P .. 'unsettled:' .. lane, pattern)
    call('HDEL', P .. 's:' .. session, 'ul')
  end
end

-- Give the lane back. Return the ms at which it is due again, or -1 if nothing is pending in it.
local function release(lane)
  call('DEL', P .. 'lease:' .. lane)
  local first = call('ZRANGE', P .. 'pend:' .. lane, 0, 0, 'WITHSCORES')
  if first[1] then
    call('ZADD', P .. 'ready', first[2], lane)
    return tonumber(first[2])
  end
  call('ZREM', P .. 'ready', lane)
  return -1
end

-- Tell where an event stands. The event is found by its id, never by its position alone, because a store that went back
-- gives a position a second time. `kind` is 'p' for a predict, the due ms for an event that is to be appended later,
-- and '' for any other. A predict and an event for later have position 0.
-- Return 'waiting' and the event's entry; 'applied' and its session's node; 'dead' and its dead letter;
--   or 'unknown' if it is neither in the log nor among the predicts.
local function standing(session, event_id, position, kind, now)
  if position == 0 then
    if kind ~= 'p' then return (kind == '' or tonumber(kind) > now) and 'waiting' or 'unknown', '' end
    for _, ask in ipairs(call('LRANGE', P .. 'asks:' .. session, 0, -1)) do
      if string.match(ask, '^[^\n]*\n(.*)$') == event_id then return 'waiting', '' end
    end
    return 'unknown', ''
  end
  local h = call('HMGET', P .. 's:' .. session, 'head', 'cur', 'node')
  local head, cur = tonumber(h[1] or 0), tonumber(h[2] or 0)
  if position > head then return 'unknown', '' end
  -- The index counts from the end, because the events that are asked for lie there.
  local entry = call('LINDEX', P .. 'log:' .. session, position - head - 1)
  if entry and string.match(entry, '^[^\n]*\n([^\n]*)') ~= event_id then return 'unknown', '' end
  if position > cur then return entry and 'waiting' or 'unknown', entry or '' end
  local letter = call('HGET', P .. 'dead', session .. '\n' .. position)
  if letter then return 'dead', letter end
  if call('HGET', P .. 'vec:' .. session, position) == 'null' then return 'dead', '' end
  return 'applied', h[3] or ''
end

-- Return the waiting requests of an event, 100 at most, as task id, request, task id, request, …
local function parked_requests(key)
  local parked = call('HGETALL', P .. 'w:' .. key)
  for i = #parked, 201, -1 do parked[i] = nil end
  return parked
end

-- Note that a caller was told this result. Unless other requests wait for it, the result goes: at once if it takes more
-- than `bytes`, otherwise after `ms`, so that a caller who soon gives the same id again is told the same.
local function told(key, ms, bytes)
  if call('EXISTS', P .. 'w:' .. key) == 1 then return end
  if call('STRLEN', P .. 'r:' .. key) > tonumber(bytes) then
    call('DEL', P .. 'r:' .. key)
  else
    call('PEXPIRE', P .. 'r:' .. key, ms)
  end
end

-- End a session's turn: keep the session pending, behind the others, if anything is left for it to do.
-- Return whether a learn or a clear is next; after that one call its KATO session is free for other sessions.
local function requeue(lane, session, now)
  local s = P .. 's:' .. session
  local state = call('HMGET', s, 'head', 'cur', 'pk', 'tr')
  local head, cur = tonumber(state[1] or 0) or 0, tonumber(state[2] or 0) or 0
  local left, nearly = head > cur, false
  if left then
    local entry = redis.pcall('LINDEX', P .. 'log:' .. session, cur - (tonumber(state[4] or 0) or 0))
    local ms = type(entry) == 'string' and string.match(entry, '^%a%d(%d+)')
    if ms then call('ZADD', P .. 'since', ms, session) end
    nearly = ms and string.find(entry, '^[lc]')
  else
    call('ZREM', P .. 'since', session)
  end
  if (left or call('EXISTS', P .. 'asks:' .. session) == 1) and not state[3] then
    call('ZADD', P .. 'pend:' .. lane, now, session)
  else
    call('ZREM', P .. 'pend:' .. lane, session)
  end
  return nearly
end

-- Return the text of an error that pcall caught. Redis 7 raises tables; Redis 6.2 and Lua itself raise texts.
local function said(raised)
  return type(raised) == 'table' and tostring(raised.err) or tostring(raised)
end

-- Return a session's next piece of work, or nil if nothing is left for it or it is parked. A piece of work is a run of
-- entries after the cursor that may go in one call: observations up to the next entry of another kind, or that one.
local function piece(lane, token, session, max_events, max_bytes, now, gen)
  local s = P .. 's:' .. session
  local h = call('HMGET', s, 'node', 'head', 'cur', 'mark', 'un', 'att', 'cr', 'pk', 'lm', 'ka', 'ft', 'le',
    'b0', 'b1', 'b2', 'b3', 'i0', 'i1', 'i2', 'i3', 'rf', 'gr', 'tr', 'cf')
  local head, cur, trimmed = tonumber(h[2] or 0), tonumber(h[3] or 0), tonumber(h[23] or 0)
  if not head or not cur or not trimmed then error('its head or its cursor is no number', 0) end
  local room = math.min(max_events, tonumber(h[9] or max_events) or max_events)
  local ask = call('LINDEX', P .. 'asks:' .. session, 0)
  if h[8] or (head <= cur and not ask and not h[10]) then return nil end
  local last, asked = head, ''
  if ask then
    local after, event_id = string.match(ask, '^(%d+)\n(.*)$')
    after = tonumber(after)
    if not after then error('its first predict has no position', 0) end
    if after <= cur then asked = event_id; last = cur elseif after < last then last = after end
  end
  local entries, bytes, at = {}, 0, cur
  local run
  while at < last and #entries < room and bytes < max_bytes do
    local stop = math.min(last, at + 64, cur + room)
    local chunk = call('LRANGE', P .. 'log:' .. session, at - trimmed, stop - 1 - trimmed)
    if #chunk == 0 then break end
    local full = false
    for _, entry in ipairs(chunk) do
      local kind = string.sub(entry, 1, 1)
      if run and (kind ~= 'o' or bytes + #entry > max_bytes) then full = true; break end
      entries[#entries + 1] = entry
      bytes = bytes + #entry
      at = at + 1
      if kind ~= 'o' then full = true; break end
      run = true
    end
    if full then break end
  end
  local till, read, before, learned = 0, '', 0, tonumber(h[12] or 0) or 0
  if asked ~= '' then
    local kept, what = string.match(call('HGET', P .. 'until:' .. session, asked) or '', '^(%d+) ?(.*)$')
    till, read = tonumber(kept or 0), what or ''
    -- A predict must see what any session of its lane learned before it was asked. What the others learn after it was
    -- first taken up does not count, because a lane that learns all the time would then hold it up endlessly.
    call('HSETNX', s, 'pt', now)
    local others = tonumber(call('HGET', P .. 'lane:' .. lane, 'le') or 0) or 0
    learned = math.max(learned, math.min(others, tonumber(call('HGET', s, 'pt')) or now))
    -- The holder is counted before it asks KATO, because a holder that dies of the answer leaves no other trace.
    if not h[17] then before = call('HINCRBY', s, 'pa', 1) - 1 end
  end
  if not h[13] then call('HSET', s, 'cr', token) end
  local node, mark, gave_up, creating = h[1] or '', tonumber(h[4] or 0) or 0, h[22] or '', h[7] or ''
  local binding, intent = text_at(h, 13), text_at(h, 17)
  local attempts, unsent, rebuilds = tonumber(h[6] or 0) or 0, tonumber(h[5] or 0) or 0, tonumber(h[21] or 0) or 0
  local first_failed, config = tonumber(h[11] or 0) or 0, h[24] or ''
  -- Python reads these values by the same names in the same order (`readable_work`); a test compares the two.
  return { lane, session, node, head, cur, mark, binding, intent, attempts, unsent, creating, asked, now, entries,
    first_failed, learned, rebuilds, till, before, gave_up, gen, read, config }
end

-- Return the next piece of work of a lane that the caller has leased, or nil. For a session whose rows cannot be read,
-- return { lane, session, now, why }, so that the caller parks the session.
local function next_work(lane, token, prefer, max_events, max_bytes, now)
  local pend = P .. 'pend:' .. lane
  local gen = call('HGET', P .. 'lane:' .. lane, 'gen') or ''
  for _ = 1, 1000 do
    local session
    if prefer then
      local due = call('ZSCORE', pend, prefer)
      if due and tonumber(due) <= now then session = prefer end
      prefer = nil
    end
    if not session then session = call('ZRANGEBYSCORE', pend, '-inf', now, 'LIMIT', 0, 1)[1] end
    if not session then return nil end
    local read, work = pcall(piece, lane, token, session, max_events, max_bytes, now, gen)
    if not read then
      local why = said(work)
      return { lane, session, now, why }
    end
    if work then return work end
    call('ZREM', pend, session)
  end
  return nil
end

-- Give back a lane whose own rows cannot be read, record its name for a person, and let it be tried again in a minute.
local function give_up(lane, now)
  call('DEL', P .. 'lease:' .. lane)
  call('SADD', P .. 'unreadable', lane)
  call('ZADD', P .. 'ready', now + 60000, lane)
  return now + 60000
end

-- Go on after a step: fetch more work of the lane, or give it back. Return { due or -1 or -2 (still held), work }.
local function proceed(lane, token, mode, max_events, max_bytes, now, prefer)
  local read, work = true, nil
  if mode == 'next' then
    read, work = pcall(next_work, lane, token, prefer or nil, max_events, max_bytes, now)
    if read and work then return { -2, work } end
  end
  local released, due = read, nil
  if read then released, due = pcall(release, lane) end
  return { released and due or give_up(lane, now), false }
end

-- Return the sessions of a lane whose intent is open, as many as `most`. A session with an open intent is pending or
-- parked, because only the commit of its call ends its turn. A pending one whose rows cannot be read counts as open.
-- (A fence alone can be open without that, if its session had nothing to do and was parked and resumed; it is harmless,
-- because it is finished on the node that KATO is told then.)
local function open_intents(lane, most)
  local found = {}
  local function look(session, pending)
    local h = redis.pcall('HMGET', P .. 's:' .. session, 'ic', 'lane')
    if h.err then return pending end
    return h[1] and h[2] == lane
  end
  for _, session in ipairs(call('ZRANGE', P .. 'pend:' .. lane, 0, -1)) do
    if #found < most and look(session, true) then found[#found + 1] = session end
  end
  for _, session in ipairs(call('SMEMBERS', P .. 'parked')) do
    if #found < most and look(session, false) then found[#found + 1] = session end
  end
  return found
end

-- Return what a commit of a lane's order applied after the place `after` there, and how many events that were. nil: it
-- applied none after it. That is { seq, from, to, ms, dead, session, node, entries }: `seq` is the place of the event at
-- position `from`, and `dead` a text with a 1 for each event that is a dead letter and a 0 for any other. Without a node
-- the session was forgotten; without entries they are no longer in its log. `buried`: the partition has dead letters.
local function applied_by(lane, commit, after, buried)
  local seq, from, to, ms, flag, session = string.match(commit, '^(%d+) (%d+) (%d+) (%d+)( ?d?)\n(.*)$')
  if not seq then error('a commit of lane ' .. lane .. ' is broken', 0) end
  local skip = math.max(after + 1 - seq, 0)
  local first = from + skip
  if first > tonumber(to) then return nil end
  local h = call('HMGET', P .. 's:' .. session, 'node', 'tr')
  local entries, dead = {}, {}
  local trimmed = tonumber(h[2] or 0)
  if h[1] and first > trimmed then
    entries = call('LRANGE', P .. 'log:' .. session, first - 1 - trimmed, to - 1 - trimmed)
  end
  for i = 1, #entries do
    local letter = flag == ' d' or (buried and call('HEXISTS', P .. 'dead', session .. '\n' .. (first + i - 1)) == 1)
    dead[i] = letter and '1' or '0'
  end
  return { seq + skip, first, to, ms, table.concat(dead), session, h[1] or '', entries }, to - first + 1
end

-- Return the number of a lane's commit with this index in its order. Raises an error if the commit is broken.
local function seq_at(lane, index)
  local commit = call('LINDEX', P .. 'order:' .. lane, index)
  return commit and tonumber(string.match(commit, '^%d+')) or error('a commit of lane ' .. lane .. ' is broken', 0)
end

-- Return the index of the last commit in a lane's order, of `length` commits, that begins at or before a place. It is
-- found by halving, and 0 where all of them begin behind that place.
local function commit_before(lane, length, place)
  local low, high = 0, length - 1
  while low < high do
    local middle = math.ceil((low + high) / 2)
    if seq_at(lane, middle) <= place then low = middle else high = middle - 1 end
  end
  return low
end
