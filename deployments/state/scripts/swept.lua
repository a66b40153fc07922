local forget_ms = tonumber(redis.call('ZSCORE', KEY.tombstones, member_of(ARG.version)) or '0')
if forget_ms == 0 then
  return 0 -- visible, open or forgotten: not the sweep's
end
if now_ms < forget_ms then
  -- Stays hidden: it is swept again at the end, then forgotten.
  redis.call('ZADD', KEY.sweep, whole(forget_ms), member_of(ARG.version))
  return 0
end
redis.call('ZREM', KEY.sweep, member_of(ARG.version))
redis.call('ZREM', KEY.tombstones, member_of(ARG.version))
redis.call('SREM', KEY.hidden, ARG.version)
return 1
