-- The state machine of a job: the only place that knows its arrows and its counters. Needs the
-- keys of a job; the functions that abort versions also need versions.lua.

local ARROWS = {
  PENDING = { PROCESSING = true, CANCELLED = true, FAILED = true },
  PROCESSING = { COMPLETED = true, FAILED = true, CANCELLED = true },
  COMPLETED = { PENDING = true },
  FAILED = { PENDING = true },
  CANCELLED = { PENDING = true },
}

local function has_ended(state)
  return state == 'COMPLETED' or state == 'FAILED' or state == 'CANCELLED'
end

local function load_job()
  local flat = redis.call('HGETALL', KEY.job)
  if #flat == 0 then
    refuse('JOB_NOT_FOUND', 'No such job.')
  end
  local job = {}
  for i = 1, #flat, 2 do
    job[flat[i]] = flat[i + 1]
  end
  return job
end

-- The lease must carry the newest fence of the job's own collection.
local function demand_lease(job)
  if job.collection ~= ARG.collection or redis.call('GET', KEY.fence) ~= ARG.fence then
    refuse('LEASE_LOST', 'Another supervisor holds the collection now.')
  end
end

local function demand_arrow(job, state)
  if not ARROWS[job.state][state] then
    refuse('ILLEGAL', 'A job that is ' .. job.state .. ' cannot become ' .. state .. '.')
  end
end

-- For work on a file: the job is being processed under the caller's lease.
local function working_job()
  local job = load_job()
  demand_lease(job)
  if job.state ~= 'PROCESSING' then
    refuse('ILLEGAL', 'A job that is ' .. job.state .. ' has no file to work on.')
  end
  return job
end

local function demand_room(owner)
  if redis.call('SCARD', KEY.pending) >= ARG.max_queued_jobs then
    refuse('QUEUE_FULL', 'The ingestion queue is full.')
  end
  if tonumber(redis.call('HGET', KEY.active, owner) or '0') >= ARG.max_jobs_per_owner then
    refuse('QUEUE_FULL', 'This caller has as many unfinished jobs as it may have.')
  end
end

local function add(field, delta)
  if delta ~= 0 then
    redis.call('HINCRBY', KEY.job, field, whole(delta))
  end
end

local function expiry_member(job)
  return cjson.encode({ ARG.job_id, job.owner, job.collection })
end

local function each_key_of_job(command, ...)
  for _, key in ipairs({ KEY.job, KEY.specs, KEY.files, KEY.events }) do
    redis.call(command, key, ...)
  end
end

local function end_record(job)
  local expires_ms = whole(now_ms + ARG.job_ms)
  redis.call('HSET', KEY.job, 'ended_at_s', now_s)
  redis.call('ZADD', KEY.expiring, expires_ms, expiry_member(job))
  if redis.call('HINCRBY', KEY.active, job.owner, -1) <= 0 then
    redis.call('HDEL', KEY.active, job.owner)
  end
  return expires_ms
end

-- Enters a state, with all that hangs on being in it. Whether it may is the caller's to check.
local function move(job, state)
  if job.state == 'PENDING' then
    redis.call('SREM', KEY.pending, ARG.job_id)
  end
  if state == 'PENDING' then
    redis.call('SADD', KEY.pending, ARG.job_id)
    redis.call('HINCRBY', KEY.active, job.owner, 1)
    redis.call('XADD', KEY.queue, '*', 'job', ARG.job_id, 'collection', job.collection, 'tries', '0')
  end
  local transitions = job.transitions .. ' ' .. state .. '@' .. now_s
  redis.call('HSET', KEY.job, 'state', state, 'transitions', transitions)
  job.state = state
  job.transitions = transitions
end

-- Appends the record to the job's events and answers it. Every script that changes a job ends so.
local function publish()
  local flat = redis.call('HGETALL', KEY.job)
  redis.call('XADD', KEY.events, 'MAXLEN', '~', ARG.max_events, '*', unpack(flat))
  return flat
end

-- Ends the job: nothing changes its keys any more but their expiry or `resume`.
local function finish_in(job, state)
  move(job, state)
  local expires_ms = end_record(job)
  local flat = publish()
  each_key_of_job('PEXPIREAT', expires_ms)
  return flat
end

-- Files

local function load_file(number)
  local raw = redis.call('HGET', KEY.files, number)
  if not raw then
    refuse('ILLEGAL', 'The job has no file ' .. number .. '.')
  end
  return cjson.decode(raw)
end

local function save_file(number, file)
  redis.call('HSET', KEY.files, number, cjson.encode(file))
end

local function demand_open_file(file)
  if file.state ~= 'PENDING' and file.state ~= 'PROCESSING' then
    refuse('ILLEGAL', 'A file that is ' .. file.state .. ' is not being worked on.')
  end
end

-- The job's counters are always the sums over its files.
local function set_chunks(file, done, total)
  add('chunks_done', done - file.chunks_done)
  add('chunks_total', total - file.chunks_total)
  file.chunks_done = done
  file.chunks_total = total
end

-- Takes back what an attempt has written. Only open versions: a committed one is a DONE file's.
local function drop_attempt(file)
  if file.state == 'PROCESSING' then
    abort_version(file.version)
  end
  file.version = '0'
  set_chunks(file, 0, 0)
end

-- number -> file, of those neither DONE nor UNCHANGED (nor FAILED, unless asked for).
local function unfinished_files(with_failed)
  local flat = redis.call('HGETALL', KEY.files)
  local found = {}
  for i = 1, #flat, 2 do
    local file = cjson.decode(flat[i + 1])
    local open = file.state == 'PENDING' or file.state == 'PROCESSING'
    if open or (with_failed and (file.state == 'FAILED' or file.state == 'CANCELLED')) then
      found[flat[i]] = file
    end
  end
  return found
end
