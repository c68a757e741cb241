-- read_lane: read applied events of a lane after a place in its order.
-- ARGV:
--   lane
--   after: number        the place
--   limit: number        about how many events; at least one commit is read
-- Returns { first place that is held or 0, how many were applied, commits } with commits as applied_by returns them.
local order = P .. 'order:' .. lane
local applied = tonumber(call('HGET', P .. 'lane:' .. lane, 'seq') or 0) or 0
local length = call('LLEN', order)
if length == 0 then return { 0, applied, {} } end
local first = seq_at(lane, 0)
-- Whoever follows a lane asks at its end most of the time.
if after >= applied then return { first, applied, {} } end
local buried = call('HLEN', P .. 'dead') > 0
local commits, room, at = {}, limit, commit_before(lane, length, after + 1)
while room > 0 and at < length do
  local some = call('LRANGE', order, at, at + 31)
  for _, commit in ipairs(some) do
    local applied_then, count = applied_by(lane, commit, after, buried)
    if applied_then then
      commits[#commits + 1] = applied_then
      room = room - count
      if room <= 0 then break end
    end
  end
  at = at + 32
end
return { first, applied, commits }
