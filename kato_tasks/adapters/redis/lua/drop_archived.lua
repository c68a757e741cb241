-- drop_archived: forget commits that are archived, and of each session's log what no rebuild of its STM needs.
-- ARGV:
--   lane
--   first_seq            the number of the lane's first commit, as it was read
--   commits: number      how many commits are archived, from that one on
--   stm_cap: number      how many events an STM has at most
-- each of sessions:
--   session, up_to       a session, and the position up to which it is archived
-- Returns 1, or 0 if the lane's first commit is another one by now.
even_if_full()
local order = P .. 'order:' .. lane
local first = call('LINDEX', order, 0)
if not first or string.match(first, '^%d+') ~= first_seq then return 0 end

-- Return the position before the newest `stm_cap` events of the STM that ends at `cur`.
local function before_stm(session, cur, mark, trimmed)
  local counted, at = 0, cur
  while at > mark and at > trimmed do
    local from = math.max(at - 500, mark, trimmed)
    local chunk = call('LRANGE', P .. 'log:' .. session, from - trimmed, at - 1 - trimmed)
    for i = #chunk, 1, -1 do
      -- Entries of an early version do not say what they hold, and do not count here: more is kept then.
      if string.find(chunk[i], '^o%d%d*[sv]') then counted = counted + 1 end
      if counted == stm_cap then return from + i - 1 end
    end
    at = from
  end
  return mark
end

for row = sessions_first, sessions_last, sessions_step do
  local session, up_to = ARGV[row + sessions_session], tonumber(ARGV[row + sessions_up_to])
  local s = P .. 's:' .. session
  local h = call('HMGET', s, 'cur', 'mark', 'tr')
  if h[1] then
    local cur, mark, trimmed = tonumber(h[1]), tonumber(h[2] or 0), tonumber(h[3] or 0)
    local till = mark
    -- What lies behind a long STM is looked through only when it has grown by as much again.
    if cur - mark > stm_cap and cur - math.max(mark, trimmed) > 2 * stm_cap then
      till = before_stm(session, cur, mark, trimmed)
    end
    till = math.min(till, up_to, cur)
    if till > trimmed then
      call('LTRIM', P .. 'log:' .. session, till - trimmed, -1)
      call('HSET', s, 'tr', till)
    end
  end
end
call('LTRIM', order, commits, -1)
if call('EXISTS', order) == 0 then call('SREM', P .. 'unarchived', lane) end
return 1
