local mine = redis.call('XPENDING', KEY.queue, ARG.group, ARG.entry_id, ARG.entry_id, 1, ARG.consumer)
if #mine == 0 then
  return 0 -- taken by another, settled, or given up already
end
-- It is nobody's, and so old that the next `claim` takes it for abandoned.
redis.call('XCLAIM', KEY.queue, ARG.group, ARG.nobody, 0, ARG.entry_id,
  'IDLE', whole(ARG.visibility_timeout_ms), 'RETRYCOUNT', whole(mine[1][4] - 1), 'JUSTID')
return 1
