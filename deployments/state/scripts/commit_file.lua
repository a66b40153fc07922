working_job()
local file = load_file(ARG.number)
if file.version == ARG.version and file.state == 'DONE' then
  return 0 -- said before, and the answer was lost
end
if file.version ~= ARG.version or file.state ~= 'PROCESSING' then
  refuse('ILLEGAL', 'Version ' .. ARG.version .. ' is not the attempt in progress.')
end
-- A version condemned in between (its document was deleted) stays hidden.
if not is_condemned(ARG.version) then
  redis.call('SREM', KEY.hidden, ARG.version)
end
for _, replaced in ipairs(ARG.replaces) do
  if replaced ~= ARG.version then
    retire_version(replaced)
  end
end
bump_epoch()
set_chunks(file, ARG.chunks, ARG.chunks)
file.state = 'DONE'
save_file(ARG.number, file)
add('files_done', 1)
add('bytes_done', file.size_bytes)
publish()
return 1
