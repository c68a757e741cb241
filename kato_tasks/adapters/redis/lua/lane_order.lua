-- lane_order: find what was applied in a lane after a place in its order.
-- ARGV:
--   lane
--   after: number        a place in the lane's order
--   limit: number        of rows, at most
-- Returns the rows of order:<lane> from the first one that reaches beyond that place.
local key = P .. 'order:' .. lane

local function last_of(at)
  local seq, from, to = string.match(call('LINDEX', key, at), '^(%d+) (%d+) (%d+) ')
  return seq + to - from
end

local low, high = 0, call('LLEN', key)
-- Whoever follows a lane asks at its end most of the time.
if high == 0 or last_of(-1) <= after then return {} end
while low < high do
  local middle = math.floor((low + high) / 2)
  if last_of(middle) > after then high = middle else low = middle + 1 end
end
return call('LRANGE', key, low, low + limit - 1)
