-- acquire_lanes: lease lanes that are due, up to a limit, each with its first piece of work.
-- ARGV:
--   token, lease_ms: number
--   lanes                  the most lanes that are leased
--   max_events: number, max_bytes: number    of a piece of work
-- Returns a list of pieces of work. A lane whose own rows cannot be read is in the list by its name alone. A lane whose
-- holder died is due when that holder's lease ends.
local now = now_ms()
local out = {}
even_if_full()
for _, lane in ipairs(call('ZRANGEBYSCORE', P .. 'ready', '-inf', now, 'LIMIT', 0, lanes)) do
  if call('SET', P .. 'lease:' .. lane, token, 'NX', 'PX', lease_ms) then
    call('ZADD', P .. 'ready', now + lease_ms, lane)
    local read, work = pcall(next_work, lane, token, nil, max_events, max_bytes, now)
    if not read then
      give_up(lane, now)
      out[#out + 1] = lane
    else
      call('SREM', P .. 'unreadable', lane)
      if work then out[#out + 1] = work else release(lane) end
    end
  else
    call('ZADD', P .. 'ready', now + math.max(1, call('PTTL', P .. 'lease:' .. lane)), lane)
  end
end
return out
