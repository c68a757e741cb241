-- append: give each event its position, once; put its lane into the ready set.
-- ARGV:
--   dedupe_ms            the least time for which ids are remembered
--   source               the source, which has a mark because its offsets only rise; '' without one
--   source_mark_ms       how long the source's mark is kept
--   partition: number    spreads the moments at which partitions change buckets
--   most_predicts: number    how many predicts of a session may wait
--   expected: number     position at which the session of a new event must stand; -1: any
--   sink                 where KATO's predictions after these events go, if `also` asks for them
-- each of events:
--   lane, session, node, event_id, digest   node '': the caller has appended to the session before
--   kind                 as in the entry, which begins with it: p is a predict
--   entry                as it is written to the log (domain/log_entry.py), without the ms of its append
--   offset               in the source; 0 without one
--   also                 what else is done with a new event, words with a blank between them (domain/log_entry.py):
--                        id: its id is remembered although it comes from a source with a mark
--                        pN: KATO is asked for predictions after it if N divides its position; p0: after it, unless
--                            another event of the session follows before KATO is asked
--                        lN: a learn follows it if its position is N, or N + 1 more for each learn before
-- Returns { 1 when a lane waits for a wake-up, then status and position for each event }:
--   n: the event is new; d: it is a duplicate; m: it is at or below the source's mark; c: its id has another body;
--   a: it is new, and another node_id shares the lane's name;
--   w: it is not appended, because as many predicts of its session wait as may wait;
--   x: it is not appended, because its session stands at this position and not at the expected one;
--   e: it is not appended, because its session's rows are broken;
--   g: it is not appended, because its session is gone, and with it the node that the caller remembers.
-- Runs again harmlessly: every event is then a duplicate at its own position.
local now = now_ms()
local window = tonumber(dedupe_ms)
-- Each bucket covers one window, and ids are looked up in the current and the previous bucket, so an id is remembered
-- for at least one window. Partitions change buckets at different times.
local function bucket_of(ms)
  return math.floor((now + partition * ms / 256) / ms)
end
local bucket = bucket_of(window)
local ids = P .. 'ids:' .. bucket
local places = { ids, P .. 'ids:' .. (bucket - 1) }
-- Ids that were written under another setting, or by a clock that was ahead, lie in other buckets.
local mine, live = dedupe_ms .. ':' .. bucket, {}
local windows = call('GET', P .. 'windows')
if windows ~= mine then
  if not windows then windows = window == 604800000 and '' or '604800000:' .. bucket_of(604800000) end
  for ms, newest in string.gmatch(windows, '(%d+):(%d+)') do
    if (newest + 3) * ms > now and ms .. ':' .. newest ~= mine then
      if ms ~= dedupe_ms then live[#live + 1] = ms .. ':' .. newest end
      places[#places + 1] = P .. 'ids:' .. newest
      places[#places + 1] = P .. 'ids:' .. (newest - 1)
    end
  end
end
local recorded = windows == mine or string.find(' ' .. windows .. ' ', ' ' .. mine .. ' ', 1, true)

local function known_at(field)
  for _, place in ipairs(places) do
    local found = call('HGET', place, field)
    if found then return found end
  end
end

-- A replay's shadow lane has no source but the replay itself, whose mark tells what was copied.
local shadows = {}
local function is_shadow(lane)
  if source == '' then return false end
  if shadows[lane] == nil then shadows[lane] = call('HEXISTS', P .. 'lane:' .. lane, 'rp') == 1 end
  return shadows[lane]
end

local function is_list(key)
  local kind = call('TYPE', key).ok
  return kind == 'list' or kind == 'none'
end

-- Read what must be known of a session before any of its rows is written. Return nil when its rows are broken.
local function look(session)
  local read, h = pcall(call, 'HMGET', P .. 's:' .. session, 'lane', 'head', 'pk')
  if not read or (h[1] and not string.match(h[2] or '', '^%d+$')) then return nil end
  if not is_list(P .. 'log:' .. session) then return nil end
  return { new = not h[1], parked = h[3], head = tonumber(h[2] or 0) }
end

-- Ask for KATO's predictions after an event, for a sink. Of those that ask only for the session's last, one waits.
local function ask_for_sink(session, position, event_id, every)
  if every > 0 and position % every ~= 0 then return end
  local asks, wanted, theirs = P .. 'asks:' .. session, P .. 'until:' .. session, '0 >' .. sink
  if every == 0 then
    local before = string.match(call('LINDEX', asks, -1) or '', '^%d+\n(.*)$')
    if before and call('HGET', wanted, before) == theirs then
      call('RPOP', asks)
      call('HDEL', wanted, before)
    end
  end
  call('RPUSH', asks, position .. '\n' .. event_id .. '~prediction')
  call('HSET', wanted, event_id .. '~prediction', theirs)
end

-- Return the entry of the learn that follows an event.
local function learn_after(entry, event_id)
  local head = string.match(entry, '^[^\n]*\n[^\n]*\n({"v":%d+,"ts":"[^"]*")') or '{"v":1'
  return 'l0' .. now .. '\n' .. event_id .. '~learn\n' .. head .. '}\n'
end

local mark = -1
if source ~= '' then mark = tonumber(call('GET', P .. 'mark:' .. source) or -1) end
local highest = mark
local out, wake, sessions, fresh, news, stopped = { 0 }, 0, {}, false, 0, false

for at = events_first, events_last, events_step do
  local lane, session, node = ARGV[at + events_lane], ARGV[at + events_session], ARGV[at + events_node]
  local event_id, digest = ARGV[at + events_event_id], ARGV[at + events_digest]
  local kind, entry, offset = ARGV[at + events_kind], ARGV[at + events_entry], tonumber(ARGV[at + events_offset])
  local also = ARGV[at + events_also]
  local status, position = 'n', 0
  local field = event_id .. '\n' .. session
  local known = (offset > mark or source == '') and not is_shadow(lane) and known_at(field)
  local seen = sessions[session]
  if source ~= '' and offset <= mark then
    status = 'm'
  elseif known then
    local place, same = string.match(known, '^(%d+) (.*)$')
    position = tonumber(place or 0)
    status = same == digest and 'd' or 'c'
  else
    if seen == nil then
      seen = look(session) or false
      sessions[session] = seen
    end
    -- The source's mark must not pass an event that is not appended.
    if stopped then
      status = stopped
    elseif not seen or (kind == 'p' and not is_list(P .. 'asks:' .. session)) then
      status = 'e'
      stopped = source ~= '' and status
    elseif seen.new and node == '' then
      status = 'g'
      stopped = source ~= '' and status
    elseif expected >= 0 and seen.head ~= expected then
      status = 'x'
      position = seen.head
    elseif kind == 'p' and call('LLEN', P .. 'asks:' .. session) >= most_predicts then
      status = 'w'
    else
      local s = P .. 's:' .. session
      if seen.new then
        local l = P .. 'lane:' .. lane
        call('HSETNX', l, 'node', node)
        if call('HGET', l, 'node') ~= node then status = 'a' end
        call('HSET', s, 'lane', lane, 'node', node, 'head', 0, 'cur', 0, 'mark', 0)
        seen.new = false
      end
      if kind ~= 'p' and not seen.since then
        call('ZADD', P .. 'since', 'NX', now, session)
        seen.since = true
      end
      if not seen.due then
        seen.due = true
        if not seen.parked then
          local added = call('ZADD', P .. 'pend:' .. lane, 'NX', now, session)
          if call('EXISTS', P .. 'lease:' .. lane) == 0 then
            if added == 1 then call('ZADD', P .. 'ready', 'LT', now, lane) end
            wake = 1
          end
        end
      end
      if kind == 'p' then
        position = seen.head
        call('RPUSH', P .. 'asks:' .. session, position .. '\n' .. event_id)
        local till, read = string.match(entry, '^p%d\n[^\n]*\n{"until":(%d+)(.-)}')
        if till then
          local what = string.match(read, '^,"read":"([%w-]+)"$')
          call('HSET', P .. 'until:' .. session, event_id, till .. (what and ' ' .. what or ''))
        end
      else
        position = call('HINCRBY', s, 'head', 1)
        seen.head = position
        call('RPUSH', P .. 'log:' .. session, string.sub(entry, 1, 2) .. now .. string.sub(entry, 3))
        news = news + 1
        if also ~= '' then
          local every, length = string.match(also, 'p(%d+)'), tonumber(string.match(also, 'l(%d+)'))
          if every and sink ~= '' then ask_for_sink(session, position, event_id, tonumber(every)) end
          if length and position % (length + 1) == length then
            seen.head = call('HINCRBY', s, 'head', 1)
            call('RPUSH', P .. 'log:' .. session, learn_after(entry, event_id))
            news = news + 1
          end
        end
      end
      -- A source with a mark needs no memory of single ids.
      if source == '' or string.find(also, 'id', 1, true) then
        call('HSET', ids, field, position .. ' ' .. digest)
        fresh = true
      end
    end
  end
  if source ~= '' and offset > highest and not stopped then highest = offset end
  out[#out + 1] = status
  out[#out + 1] = position
end

if fresh and not recorded then
  table.insert(live, 1, mine)
  call('SET', P .. 'windows', table.concat(live, ' '))
  call('PEXPIRE', ids, 2 * window)
end
if news > 0 then redis.pcall('HINCRBY', P .. 'stats', 'appended', news) end
if highest > mark then call('SET', P .. 'mark:' .. source, highest, 'PX', source_mark_ms) end
out[1] = wake
return out
