if redis.call('XACK', KEY.queue, ARG.group, ARG.entry_id) == 0 then
  return 0
end
redis.call('XDEL', KEY.queue, ARG.entry_id)
redis.call('XADD', KEY.dead_letters, 'MAXLEN', '~', ARG.max_dead_letters, '*', 'job', ARG.job_id,
  'collection', ARG.collection, 'deliveries', whole(ARG.deliveries), 'reason', ARG.reason,
  'buried_at_s', now_s)
return 1
