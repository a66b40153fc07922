local job = load_job()
demand_lease(job)
if has_ended(job.state) and job.fence == ARG.fence then
  return redis.call('HGETALL', KEY.job) -- said before, and the answer was lost
end
local state = 'COMPLETED'
if job.cancel_requested == '1' then
  state = 'CANCELLED'
elseif ARG.error_code ~= '' then
  state = 'FAILED'
end
demand_arrow(job, state)
local left = unfinished_files(false)
if state == 'COMPLETED' and next(left) then
  refuse('ILLEGAL', 'A job with files left to do cannot become COMPLETED.')
end

for number, file in pairs(left) do
  drop_attempt(file)
  file.state = state == 'CANCELLED' and 'CANCELLED' or 'PENDING'
  save_file(number, file)
end
redis.call('HSET', KEY.job, 'fence', ARG.fence)
if state == 'FAILED' then
  redis.call('HSET', KEY.job, 'error_code', ARG.error_code, 'error_message', ARG.error_message)
end
return finish_in(job, state)
