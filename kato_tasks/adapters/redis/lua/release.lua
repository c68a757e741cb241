-- release: give lanes back. A wake-up cannot be lost: what was appended meanwhile decides when it is due.
-- ARGV:
--   token
-- each of lanes:
--   lane
-- Returns the due ms (or -1) for each lane that this token held, 0 for others.
local out = {}
for at = lanes_first, lanes_last do
  local lane = ARGV[at]
  if call('GET', P .. 'lease:' .. lane) == token then out[#out + 1] = release(lane) else out[#out + 1] = 0 end
end
return out
