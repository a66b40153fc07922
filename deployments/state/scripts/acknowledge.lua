redis.call('XACK', KEY.queue, ARG.group, ARG.entry_id)
return redis.call('XDEL', KEY.queue, ARG.entry_id)
