-- open_shadow: mark a lane as a replay's shadow lane, and note its sessions.
-- ARGV:
--   lane, replay_id
-- each of sessions:
--   session
-- Returns nothing.
call('HSET', P .. 'lane:' .. lane, 'rp', replay_id)
for row = sessions_first, sessions_last, sessions_step do
  call('SADD', P .. 'shadow:' .. lane, ARGV[row + sessions_session])
end
