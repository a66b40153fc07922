-- Only where the key still is: a plain HSET would bring a revoked one half back.
if redis.call('EXISTS', KEY.api_key) == 0 then
  return 0
end
redis.call('HSET', KEY.api_key, ARG.field, ARG.value)
return 1
