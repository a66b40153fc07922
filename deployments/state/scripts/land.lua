if redis.call('GET', KEY.flight) ~= ARG.token then
  return 0
end
return redis.call('DEL', KEY.flight)
