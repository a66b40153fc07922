-- Follows the cursor to the end: XAUTOCLAIM looks at few entries a call, and those in good
-- hands come first.
local cursor = '0-0'
repeat
  local answer = redis.call('XAUTOCLAIM', KEY.queue, ARG.group, ARG.consumer,
    whole(ARG.visibility_timeout_ms), cursor, 'COUNT', 1)
  cursor = answer[1]
  local entry = answer[2][1]
  if entry then
    local pending = redis.call('XPENDING', KEY.queue, ARG.group, entry[1], entry[1], 1)
    return { entry[1], entry[2], pending[1][4] }
  end
until cursor == '0-0'
return false
