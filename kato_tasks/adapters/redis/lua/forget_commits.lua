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
local low, high = 0, call('LLEN', order) - 1
if high < 0 then return 0 end
local function seq_at(at)
  local commit = call('LINDEX', order, at)
  return commit and tonumber(string.match(commit, '^%d+')) or error('a commit of lane ' .. lane .. ' is broken', 0)
end
-- Find the last commit that begins at or before the place, by halving.
local last = high
while low < high do
  local middle = math.ceil((low + high) / 2)
  if seq_at(middle) <= first then low = middle else high = middle - 1 end
end
for i, commit in ipairs(call('LRANGE', order, low, low + most - 1)) do
  local numbers, named = string.match(commit, '^([^\n]*\n)(.*)$')
  if named == session then call('LSET', order, low + i - 1, numbers) end
end
if low + most > last then return 0 end
return seq_at(low + most)
