working_job()
local file = load_file(ARG.number)
demand_open_file(file)
local counted = file.chunks_total > 0
drop_attempt(file)
local version = next_number()
redis.call('SADD', KEY.hidden, version)
file.state = 'PROCESSING'
file.version = version
save_file(ARG.number, file)
if counted then
  publish()
end
return version
