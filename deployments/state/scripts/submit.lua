-- ARGV after the first: number, size in bytes and specification of each file.
local known = redis.call('GET', KEY.idempotency)
if known and ARG.idempotent then
  return known
end
if redis.call('EXISTS', KEY.job) == 1 then
  return ARG.job_id
end
demand_room(ARG.owner)

-- Records that have expired leave the indexes: a few at each submission keep pace.
for _, member in ipairs(redis.call('ZRANGEBYSCORE', KEY.expiring, '-inf', now_ms, 'LIMIT', 0, 50)) do
  local gone = cjson.decode(member)
  redis.call('ZREM', KEY.jobs, gone[1])
  redis.call('ZREM', ARG.owner_index_prefix .. gone[2], gone[1])
  redis.call('ZREM', ARG.collection_index_prefix .. gone[3], gone[1])
  redis.call('ZREM', KEY.expiring, member)
end

local files_total, bytes_total = 0, 0
for i = 2, #ARGV, 3 do
  local size_bytes = tonumber(ARGV[i + 1])
  redis.call('RPUSH', KEY.specs, ARGV[i + 2])
  save_file(ARGV[i], {
    state = 'PENDING', version = '0', size_bytes = size_bytes,
    chunks_done = 0, chunks_total = 0, error_code = '', error_message = '',
  })
  files_total = files_total + 1
  bytes_total = bytes_total + size_bytes
end

local number = next_number()
redis.call('HSET', KEY.job,
  'id', ARG.job_id, 'number', number, 'collection', ARG.collection, 'owner', ARG.owner,
  'files_total', whole(files_total), 'files_done', '0', 'files_unchanged', '0',
  'files_failed', '0', 'chunks_done', '0', 'chunks_total', '0',
  'bytes_total', whole(bytes_total), 'bytes_done', '0', 'attempts', '0', 'fence', '',
  'cancel_requested', '0', 'error_code', '', 'error_message', '',
  'created_at_s', now_s, 'started_at_s', '0', 'ended_at_s', '0')
move({ owner = ARG.owner, collection = ARG.collection, transitions = '' }, 'PENDING')

redis.call('ZADD', KEY.jobs, number, ARG.job_id)
redis.call('ZADD', KEY.jobs_of_owner, number, ARG.job_id)
redis.call('ZADD', KEY.jobs_of_collection, number, ARG.job_id)
if ARG.idempotent then
  redis.call('SET', KEY.idempotency, ARG.job_id, 'PX', whole(ARG.idempotency_ms))
end
publish()
return ARG.job_id
