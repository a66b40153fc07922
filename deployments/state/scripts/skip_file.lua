working_job()
local file = load_file(ARG.number)
if file.state == 'UNCHANGED' then
  return 0
end
demand_open_file(file)
drop_attempt(file)
file.state = 'UNCHANGED'
save_file(ARG.number, file)
add('files_done', 1)
add('files_unchanged', 1)
add('bytes_done', file.size_bytes)
publish()
return 1
