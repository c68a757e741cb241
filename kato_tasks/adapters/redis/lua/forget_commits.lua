-- forget_commits: take a session's name out of a slice of its lane's commits.
-- ARGV:
--   lane, token, lease_ms: number
--   session
--   first: number, most: number    the place in the lane's order to begin at, and how many commits to look at
-- Returns the place to go on at; 0: no commit is left; -1: the token does not own the lane.
-- Runs again harmlessly. The numbers of a commit stay, so that readers of the lane find their places.
even_if_full()
if not holds(lane, token, lease_ms, now_ms()) then return -1 end
local order = P .. 'order:' .. lane
local length = call('LLEN', order)
if length == 0 then return 0 end
local from = commit_before(lane, length, first)
for i, commit in ipairs(call('LRANGE', order, from, from + most - 1)) do
  local numbers, named = string.match(commit, '^([^\n]*\n)(.*)$')
  if named == session then call('LSET', order, from + i - 1, numbers) end
end
if from + most >= length then return 0 end
return seq_at(lane, from + most)
