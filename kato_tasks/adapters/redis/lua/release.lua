-- release: give lanes back. A wake-up cannot be lost: what was appended meanwhile decides when it is due.
-- ARGV: 1 token, then lanes. Returns the due ms (or -1) for each lane that this token held, 0 for others.
local out = {}
for i = 2, #ARGV do
  if call('GET', P .. 'lease:' .. ARGV[i]) == ARGV[1] then out[#out + 1] = release(ARGV[i]) else out[#out + 1] = 0 end
end
return out
