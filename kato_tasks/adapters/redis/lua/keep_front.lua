-- keep_front: keep what a client of KATO's own API asked for a session, and make the session if it is new.
-- ARGV:
--   lane, session, node
--   row        what is answered about the session (JSON)
--   config     what KATO is told for this session (JSON), or ''
--   before     the row that this one takes the place of, or '' for none
-- Returns 1, or 0 where another row stands there: nothing was written then. A repeat answers 1.
local key = P .. 'front:' .. session
local there = call('GET', key) or ''
if there ~= before and there ~= row then return 0 end
local s = P .. 's:' .. session
if call('HEXISTS', s, 'lane') == 0 then
  call('HSETNX', P .. 'lane:' .. lane, 'node', node)
  call('HSET', s, 'lane', lane, 'node', node, 'head', 0, 'cur', 0, 'mark', 0)
end
call('SET', key, row)
if config == '' then call('HDEL', s, 'cf') else call('HSET', s, 'cf', config) end
return 1
