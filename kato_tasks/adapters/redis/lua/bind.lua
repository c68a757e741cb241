-- bind: a rebuilt KATO session serves from now on; an open intent is closed by it.
-- ARGV: 1 lane, 2 token, 3 lease ms, 4 session, 5 cursor that the rebuild reached, 6 binding or '' (none),
--       7 call id of the intent that it settles, or '', 8 how many KATO sessions were left over,
--       9 how many events the session's next call holds at most, or 0: as many as ever,
--       10 1 when KATO lost its store, 11 how many events of its STM are in another order than KATO made them in;
--       then symbol rows as position, json.
-- Returns 1; 0: the lane was lost; -1: the cursor is elsewhere or another intent is open.
local now = now_ms()
if not holds(ARGV[1], ARGV[2], tonumber(ARGV[3]), now) then return 0 end
local s = P .. 's:' .. ARGV[4]
local h = call('HMGET', s, 'cur', 'ic')
if h[1] ~= ARGV[5] then return -1 end
if h[2] and h[2] ~= ARGV[7] then return -1 end
call('HDEL', s, 'i0', 'i1', 'i2', 'i3', 'ic', 'cr', 'rf')
settled(ARGV[1], ARGV[4])
if ARGV[10] == '1' then
  call('HSET', P .. 'lane:' .. ARGV[1], 'ltm_lost', now)
  call('SADD', P .. 'ltm_lost', ARGV[1])
  call('DEL', P .. 'certain:' .. ARGV[1])
end
call('HDEL', s, 'gr')
set_binding(ARGV[4], ARGV[6])
if ARGV[11] ~= '0' then call('HSET', s, 'ro', ARGV[11]) else call('HDEL', s, 'ro') end
for i = 12, #ARGV, 2 do call('HSET', P .. 'vec:' .. ARGV[4], ARGV[i], ARGV[i + 1]) end
if ARGV[8] ~= '0' then call('HINCRBY', P .. 'stats', 'leftovers', ARGV[8]) end
if ARGV[9] ~= '0' then call('HSET', s, 'lm', ARGV[9]) end
return 1
