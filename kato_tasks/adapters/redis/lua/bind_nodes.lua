-- bind_nodes: record each session's node for life, before its first append. The partition is the one of the sessions'
-- own names.
-- each of sessions:
--   session
--   wanted     node, or '' for the default
--   default    node
-- Returns the node that each session belongs to. Runs again harmlessly.
local out = {}
for at = sessions_first, sessions_last, sessions_step do
  local session, node = ARGV[at + sessions_session], ARGV[at + sessions_wanted]
  if node == '' then node = ARGV[at + sessions_default] end
  call('HSETNX', P .. 'nodes', session, node)
  out[#out + 1] = call('HGET', P .. 'nodes', session)
end
return out
