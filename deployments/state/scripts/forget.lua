-- Nobody's fence is the newest now: writers of the dropped collection are refused. What they
-- had open or left behind stays hidden, lest it appear in a new collection of the same name.
local number = next_number()
redis.call('SET', KEY.fence, number)
redis.call('SET', KEY.dropped, number)
redis.call('DEL', KEY.lock)
bump_epoch()
return 1
