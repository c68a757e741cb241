-- give_sign: record that a process lives or, if it says nothing of itself, that it ends.
-- KEYS:
--   kind             what the keys of processes of its kind begin with
-- ARGV:
--   id
--   says             what it says of itself (JSON), or ''
--   keep_ms: number    how long a process is kept after its last sign
--   most: number     the most processes that are kept
-- The keys that begin with `kind` are `about`, hash: id -> what it said; and `seen`, zset: id -> ms of its last sign.
-- Returns the ms of this sign. Runs again harmlessly.
local now = now_ms()
even_if_full()
local about, seen = kind .. 'about', kind .. 'seen'
local old = call('ZRANGEBYSCORE', seen, '-inf', now - keep_ms)
if says == '' then
  old[#old + 1] = id
else
  call('HSET', about, id, says)
  call('ZADD', seen, now, id)
end
for _, other in ipairs(call('ZRANGE', seen, 0, -1 - most)) do old[#old + 1] = other end
for _, gone in ipairs(old) do
  call('HDEL', about, gone)
  call('ZREM', seen, gone)
end
return now
