if redis.call('XACK', KEY.queue, ARG.group, ARG.entry_id) == 0 then
  return 0 -- settled already: adding it again would make two of one
end
redis.call('XDEL', KEY.queue, ARG.entry_id)
redis.call('XADD', KEY.queue, '*', 'job', ARG.job_id, 'collection', ARG.collection, 'tries', whole(ARG.tries))
return 1
