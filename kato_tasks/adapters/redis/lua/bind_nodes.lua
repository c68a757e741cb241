-- bind_nodes: write down each session's node for life, before its first append. The partition is that of the sessions'
-- own names.
-- each of sessions:
--   session
--   wanted     node, or '': then the default
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
