-- Versions that searches must not see, and when the store may lose them. Needs KEY.hidden,
-- KEY.sweep, KEY.tombstones, KEY.epoch and ARG.collection, ARG.grace_ms, ARG.settle_ms,
-- ARG.tombstone_ms.
--
-- A version is either visible (in none of the keys), open (hidden: its file is being written)
-- or condemned (hidden, to be swept at its score in the sweep, and to be forgotten at its score
-- in the tombstones). Condemned versions never come back.

local function member_of(version)
  return ARG.collection .. ':' .. version
end

local function is_condemned(version)
  return redis.call('ZSCORE', KEY.tombstones, member_of(version))
end

local function condemn(version, due_ms, forget_ms)
  redis.call('SADD', KEY.hidden, version)
  redis.call('ZADD', KEY.sweep, 'LT', whole(due_ms), member_of(version))
  redis.call('ZADD', KEY.tombstones, 'GT', whole(forget_ms), member_of(version))
end

-- Was never visible: nobody reads it, but its writer may still be alive.
local function abort_version(version)
  condemn(version, now_ms, now_ms + ARG.tombstone_ms)
end

-- Was visible: its writer is done, but searches that began before may still read it. An open
-- version that is to go (its document was deleted meanwhile) is aborted: its writer lives.
local function retire_version(version)
  if redis.call('SISMEMBER', KEY.hidden, version) == 1 and not is_condemned(version) then
    return abort_version(version)
  end
  local due_ms = now_ms + ARG.grace_ms
  condemn(version, due_ms, due_ms + ARG.settle_ms)
end

local function bump_epoch()
  redis.call('SET', KEY.epoch, next_number())
end
