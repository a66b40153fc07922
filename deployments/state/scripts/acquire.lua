local held = redis.call('GET', KEY.lock)
if held and string.match(held, '^%d+:(.*)$') ~= ARG.owner then
  return false
end
local fence = next_number()
redis.call('SET', KEY.fence, fence)
redis.call('SET', KEY.lock, fence .. ':' .. ARG.owner, 'PX', whole(ARG.lease_ms))
return fence
