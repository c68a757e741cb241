-- drop_shadow: erase a replay's shadow lane.
-- ARGV:
--   lane
--   source               the name of the source from which its events were appended
--   whole                1: these are the last of its sessions, so the lane itself is erased, too
-- each of sessions:
--   session
-- Returns nothing. A lane that is no shadow lane is left alone.
even_if_full()
if call('HEXISTS', P .. 'lane:' .. lane, 'rp') == 0 then return end
for row = sessions_first, sessions_last, sessions_step do
  local session = ARGV[row + sessions_session]
  call('DEL', P .. 's:' .. session, P .. 'log:' .. session, P .. 'asks:' .. session, P .. 'until:' .. session,
    P .. 'vec:' .. session)
  for _, names in ipairs({ 'since', 'exp', 'failing' }) do call('ZREM', P .. names, session) end
  call('SREM', P .. 'parked', session)
end
local mine = {}
for row = sessions_first, sessions_last, sessions_step do mine[ARGV[row + sessions_session]] = true end
for _, id in ipairs(call('HKEYS', P .. 'dead')) do
  if mine[string.match(id, '^(.*)\n') or id] then call('HDEL', P .. 'dead', id) end
end
if whole ~= '1' then return end
call('DEL', P .. 'lease:' .. lane, P .. 'lane:' .. lane, P .. 'order:' .. lane, P .. 'pend:' .. lane,
  P .. 'learned:' .. lane, P .. 'certain:' .. lane, P .. 'unsettled:' .. lane, P .. 'shadow:' .. lane,
  P .. 'mark:' .. source)
call('ZREM', P .. 'ready', lane)
for _, names in ipairs({ 'ltm_lost', 'unreadable', 'unarchived' }) do call('SREM', P .. names, lane) end
call('HDEL', P .. 'ltm_known', lane)
