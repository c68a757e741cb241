-- append: give each event its position, once; put its lane into the ready set.
-- ARGV: 1 dedupe window (ms), 2 source or '', 3 how long to keep the source's mark (ms), 4 partition number,
--       then for each event: lane, session, node, event_id, digest, kind, entry, offset in the source.
-- Returns { 1 when a lane waits for a wake-up, then status and position for each event }:
--   n new, d duplicate, m at or below the source's mark, c same id with another body,
--   a new, and the lane's name is shared with another node_id.
-- Runs again harmlessly: every event is then a duplicate at its own position.
local now = now_ms()
local window = tonumber(ARGV[1])
local source = ARGV[2]
-- Buckets of one window each, looked up in the current and the previous one: an id is remembered for at
-- least one window. Partitions change buckets at different times.
local bucket = math.floor((now + tonumber(ARGV[4]) * window / 256) / window)
local ids, old = P .. 'ids:' .. bucket, P .. 'ids:' .. (bucket - 1)
local mark = -1
if source ~= '' then mark = tonumber(call('GET', P .. 'mark:' .. source) or -1) end
local highest = mark
local out, wake, touched, fresh, news = { 0 }, 0, {}, false, 0

for i = 5, #ARGV, 8 do
  local lane, session, node, event_id, digest, kind, entry, offset =
    ARGV[i], ARGV[i + 1], ARGV[i + 2], ARGV[i + 3], ARGV[i + 4], ARGV[i + 5], ARGV[i + 6], tonumber(ARGV[i + 7])
  local status, position = 'n', 0
  local field = event_id .. '\n' .. session
  local known = (offset > mark or source == '') and (call('HGET', ids, field) or call('HGET', old, field))
  if source ~= '' and offset <= mark then
    status = 'm'
  elseif known then
    local at, same = string.match(known, '^(%d+) (.*)$')
    position = tonumber(at)
    status = same == digest and 'd' or 'c'
  else
    local s = P .. 's:' .. session
    if not touched[session] and call('HSETNX', s, 'lane', lane) == 1 then
      call('HSET', s, 'node', node, 'head', 0, 'cur', 0, 'mark', 0)
      local l = P .. 'lane:' .. lane
      call('HSETNX', l, 'node', node)
      if call('HGET', l, 'node') ~= node then status = 'a' end
    end
    if kind == 'p' then
      position = tonumber(call('HGET', s, 'head'))
      call('RPUSH', P .. 'asks:' .. session, position .. '\n' .. event_id)
    else
      position = call('HINCRBY', s, 'head', 1)
      call('RPUSH', P .. 'log:' .. session, string.sub(entry, 1, 2) .. now .. string.sub(entry, 3))
      news = news + 1
    end
    -- A source with a mark needs no memory of single ids.
    if source == '' then
      call('HSET', ids, field, position .. ' ' .. digest)
      fresh = true
    end
    if not touched[session] then
      touched[session] = true
      if kind ~= 'p' then call('ZADD', P .. 'since', 'NX', now, session) end
      if call('HEXISTS', s, 'pk') == 0 then
        local added = call('ZADD', P .. 'pend:' .. lane, 'NX', now, session)
        if call('EXISTS', P .. 'lease:' .. lane) == 0 then
          if added == 1 then call('ZADD', P .. 'ready', 'LT', now, lane) end
          wake = 1
        end
      end
    elseif kind ~= 'p' then
      call('ZADD', P .. 'since', 'NX', now, session)
    end
  end
  if source ~= '' and offset > highest then highest = offset end
  out[#out + 1] = status
  out[#out + 1] = position
end

if fresh then call('PEXPIRE', ids, 2 * window) end
if news > 0 then call('HINCRBY', P .. 'stats', 'appended', news) end
if highest > mark then call('SET', P .. 'mark:' .. source, highest, 'PX', ARGV[3]) end
out[1] = wake
return out
