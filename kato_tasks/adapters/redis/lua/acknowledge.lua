-- acknowledge: a person knows that KATO lost these lanes' patterns. Another loss puts a lane into `ltm_lost` again.
-- ARGV: 1 who, when and why (JSON), then lanes. Returns how many of them were there. Runs again harmlessly.
local known = 0
for i = 2, #ARGV do
  if call('SREM', P .. 'ltm_lost', ARGV[i]) == 1 then
    call('HSET', P .. 'ltm_known', ARGV[i], ARGV[1])
    known = known + 1
  end
end
return known
