working_job()
local file = load_file(ARG.number)
if file.state ~= 'PROCESSING' then
  refuse('ILLEGAL', 'A file that is ' .. file.state .. ' makes no progress.')
end
set_chunks(file, ARG.chunks_done, ARG.chunks_total)
save_file(ARG.number, file)
return publish()
