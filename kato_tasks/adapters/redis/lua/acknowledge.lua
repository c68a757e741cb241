-- acknowledge: record that a person knows of KATO's loss of these lanes' patterns. Another loss puts a lane into
-- `ltm_lost` again.
-- ARGV:
--   how     who, when and why (JSON)
-- each of lanes:
--   lane
-- Returns how many of these lanes were in `ltm_lost`. Runs again harmlessly.
local known = 0
for at = lanes_first, lanes_last do
  local lane = ARGV[at]
  if call('SREM', P .. 'ltm_lost', lane) == 1 then
    call('HSET', P .. 'ltm_known', lane, how)
    known = known + 1
  end
end
return known
