-- Nobody's fence is the newest now: writers of the dropped collection are refused. What they
-- had open or left behind stays hidden, lest it appear in a new collection of the same name.
redis.call('SET', KEY.fence, next_number())
redis.call('DEL', KEY.lock)
bump_epoch()
return 1
