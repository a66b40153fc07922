if redis.call('GET', KEY.lock) ~= ARG.fence .. ':' .. ARG.owner then
  return 0
end
return redis.call('DEL', KEY.lock)
