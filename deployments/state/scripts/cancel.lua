local job = load_job()
if has_ended(job.state) then
  refuse('ILLEGAL', 'A job that is ' .. job.state .. ' cannot be cancelled.')
end
redis.call('HSET', KEY.job, 'cancel_requested', '1')
if job.state == 'PROCESSING' then
  return publish()
end
-- A pending job has no attempt: its open files are all PENDING.
for number, file in pairs(unfinished_files(false)) do
  file.state = 'CANCELLED'
  save_file(number, file)
end
return finish_in(job, 'CANCELLED')
