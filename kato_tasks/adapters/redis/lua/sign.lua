-- sign: a process says that it lives, or (with nothing to say of itself) that it ends.
-- KEYS[1] the prefix of its kind. ARGV: 1 id, 2 what it says of itself (JSON) or '', 3 for how long it is kept after its
--       last sign (ms), 4 how many are kept at most.
-- Keys: `about`, hash: id -> what it said; `seen`, zset: id -> ms of its last sign. Returns the ms of this one.
-- Runs again harmlessly.
local now = now_ms()
even_if_full()
local about, seen = P .. 'about', P .. 'seen'
local old = call('ZRANGEBYSCORE', seen, '-inf', now - ARGV[3])
if ARGV[2] == '' then
  old[#old + 1] = ARGV[1]
else
  call('HSET', about, ARGV[1], ARGV[2])
  call('ZADD', seen, now, ARGV[1])
end
for _, id in ipairs(call('ZRANGE', seen, 0, -1 - ARGV[4])) do old[#old + 1] = id end
for _, id in ipairs(old) do
  call('HDEL', about, id)
  call('ZREM', seen, id)
end
return now
