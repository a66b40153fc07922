local job = load_job()
demand_lease(job)
if tonumber(job.number) < tonumber(redis.call('GET', KEY.dropped) or '0') then
  refuse('COLLECTION_NOT_FOUND', 'The collection was deleted after the job had been submitted.')
end
if job.state == 'PROCESSING' then
  if job.fence == ARG.fence then
    return redis.call('HGETALL', KEY.job) -- said before, and the answer was lost
  end
else
  demand_arrow(job, 'PROCESSING')
  move(job, 'PROCESSING')
end
redis.call('HSET', KEY.job, 'fence', ARG.fence)
redis.call('HINCRBY', KEY.job, 'attempts', 1)
if job.started_at_s == '0' then
  redis.call('HSET', KEY.job, 'started_at_s', now_s)
end
return publish()
