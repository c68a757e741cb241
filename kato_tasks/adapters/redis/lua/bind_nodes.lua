-- bind_nodes: write down each session's node for life, before its first append.
-- KEYS[1] prefix of the partition of the sessions' own names.
-- ARGV: session, wanted node or '' (then the third counts), default node; three for each session.
-- Returns the node that each session belongs to. Runs again harmlessly.
local out = {}
for i = 1, #ARGV, 3 do
  local wanted = ARGV[i + 1] ~= '' and ARGV[i + 1] or ARGV[i + 2]
  call('HSETNX', P .. 'nodes', ARGV[i], wanted)
  out[#out + 1] = call('HGET', P .. 'nodes', ARGV[i])
end
return out
