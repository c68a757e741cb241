-- intent: record, under the token, the one changing call that is about to be sent.
-- ARGV:
--   lane, token, lease_ms: number
--   session, call_id
--   cursor        the cursor that the call starts from
--   intent        JSON
--   binding       '' leaves it unchanged
--   replaces_call  the call id of the open intent that it replaces, or ''
--   pattern       the pattern of a learn, or ''
--   lender        the session that gives up its KATO session for this, or ''
--   lent          the lender's binding
--   lent_in       the run of the store
-- Returns 1; 0: the lane was lost; -1: another intent is open or the cursor is elsewhere; -2: nothing was written,
--   because the lender is bound otherwise, is at work, is parked, or has an STM or something to do.
local now = now_ms()
if not holds(lane, token, lease_ms, now) then return 0 end
local s = P .. 's:' .. session
local h = call('HMGET', s, 'cur', 'ic')
if h[1] ~= cursor then return -1 end
if h[2] and h[2] ~= call_id and h[2] ~= replaces_call then return -1 end
if lender ~= '' and h[2] ~= call_id then
  local a = redis.pcall('HMGET', P .. 's:' .. lender, 'b0', 'b1', 'b2', 'b3', 'cur', 'mark', 'head', 'ic', 'pk', 'lane')
  if a.err or text_at(a, 1) ~= lent or a[8] or a[9] then return -2 end
  if a[5] ~= a[6] or a[5] ~= a[7] or a[10] ~= lane or call('HEXISTS', s, 'b0') == 1 then return -2 end
  set_binding(lender, '')
  call('HSET', P .. 's:' .. lender, 'gr', lent_in)
end
call('HSET', s, 'ic', call_id)
put_text(s, 'i', intent)
if pattern ~= '' then
  call('HSET', P .. 'unsettled:' .. lane, pattern, session)
  call('HSET', s, 'ul', pattern)
end
if binding ~= '' then
  call('HDEL', s, 'gr')
  set_binding(session, binding)
  call('HDEL', s, 'cr')
end
return 1
