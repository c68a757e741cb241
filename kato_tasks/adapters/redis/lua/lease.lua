-- lease: take up to so many lanes that are due, each with its first piece of work.
-- ARGV: 1 token, 2 lease ms, 3 how many lanes, 4 events and 5 bytes at most in a piece of work.
-- Returns a list of pieces of work; of a lane whose own rows cannot be read, its name alone. A lane whose holder died is
-- due when that lease ends.
local now = now_ms()
local token, lease_ms, room = ARGV[1], tonumber(ARGV[2]), tonumber(ARGV[3])
local out = {}
even_if_full()
for _, lane in ipairs(call('ZRANGEBYSCORE', P .. 'ready', '-inf', now, 'LIMIT', 0, room)) do
  if call('SET', P .. 'lease:' .. lane, token, 'NX', 'PX', lease_ms) then
    call('ZADD', P .. 'ready', now + lease_ms, lane)
    local read, work = pcall(next_work, lane, token, nil, tonumber(ARGV[4]), tonumber(ARGV[5]), now)
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
