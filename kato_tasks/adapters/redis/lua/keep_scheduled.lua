-- keep_scheduled: keep an event until it is due, behind those that were kept for the same ms before.
-- ARGV:
--   due_ms
--   payload    the event (JSON)
-- Returns 1; 0: the event is kept already. Runs again harmlessly.
-- Redis orders equal scores by the member's text, so a place is put in front of it. The place is a number whose digits
-- are white space, which JSON allows there, so that the version before this one, which knows no places, reads the event
-- too.
local digits = { '\t', '\n', '\r', ' ' }
local later, places, name = P .. 'later', P .. 'later_places', redis.sha1hex(payload)
local known = call('HGET', places, name)
if call('ZSCORE', later, (known or '') .. payload) or call('ZSCORE', later, payload) then return 0 end
local n, place = call('HINCRBY', places, 'last', 1), ''
for _ = 1, 20 do
  place = digits[n % 4 + 1] .. place
  n = math.floor(n / 4)
end
call('ZADD', later, due_ms, place .. payload)
call('HSET', places, name, place)
return 1
