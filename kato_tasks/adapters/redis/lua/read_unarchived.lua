-- read_unarchived: read applied events that are not archived yet, lane by lane, in each lane's order.
-- ARGV:
--   lanes: number, events: number    the most of each; at least one commit of each lane is read
-- Returns a list of lanes, each { lane, commits } with commits as applied_by returns them. A lane without a commit is no
--   longer noted.
even_if_full()
local out, room = {}, events
local buried = call('HLEN', P .. 'dead') > 0
for _, lane in ipairs(call('SRANDMEMBER', P .. 'unarchived', lanes)) do
  local order, commits, at = P .. 'order:' .. lane, {}, 0
  if call('HEXISTS', P .. 'lane:' .. lane, 'rp') == 1 or call('EXISTS', order) == 0 then
    call('SREM', P .. 'unarchived', lane)
  else
    while #commits == 0 or room > 0 do
      local some = call('LRANGE', order, at, at + 31)
      for _, commit in ipairs(some) do
        local applied, count = applied_by(lane, commit, 0, buried)
        commits[#commits + 1] = applied
        room = room - count
        if room <= 0 then break end
      end
      at = at + 32
      if #some < 32 then break end
    end
    out[#out + 1] = { lane, commits }
  end
  if room <= 0 then break end
end
return out
