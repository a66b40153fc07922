local mine = redis.call('XPENDING', KEY.queue, ARG.group, ARG.entry_id, ARG.entry_id, 1, ARG.consumer)
if #mine == 0 then
  return 0
end
-- JUSTID: the entry is as young as if just delivered, and its deliveries are not counted up.
return #redis.call('XCLAIM', KEY.queue, ARG.group, ARG.consumer, 0, ARG.entry_id, 'JUSTID')
