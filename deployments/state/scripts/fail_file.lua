working_job()
local file = load_file(ARG.number)
if file.state == 'FAILED' then
  return 0
end
demand_open_file(file)
drop_attempt(file)
file.state = 'FAILED'
file.error_code = ARG.error_code
file.error_message = ARG.error_message
save_file(ARG.number, file)
add('files_failed', 1)
publish()
return 1
