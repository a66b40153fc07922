local job = load_job()
demand_arrow(job, 'PENDING')
local left = unfinished_files(true)
if not next(left) then
  refuse('ILLEGAL', 'Every file of the job is done.')
end
demand_room(job.owner)

for number, file in pairs(left) do
  if file.state == 'FAILED' then
    add('files_failed', -1)
  end
  file.state = 'PENDING'
  file.error_code = ''
  file.error_message = ''
  save_file(number, file)
end
redis.call('HSET', KEY.job, 'cancel_requested', '0', 'error_code', '', 'error_message', '', 'ended_at_s', '0')
redis.call('ZREM', KEY.expiring, expiry_member(job))
each_key_of_job('PERSIST')
move(job, 'PENDING')
return publish()
