-- settle: acknowledge messages that are done, and delete them, if they are still ours.
--
-- include: now owned uncount
-- KEYS[1]  <prefix>:{<lane>}:stream
-- KEYS[2]  <prefix>:{<lane>}:users
-- KEYS[3+] <prefix>:{<lane>}:task:<item_id>, one per message
-- ARGV[1]  consumer group
-- ARGV[2]  consumer that settles
-- ARGV[3]  seconds for which the status of a finished message is kept
-- ARGV[4+] per message: entry id, user id ('' if it was never counted)
--
-- Returns the ids that no longer belong to the consumer; nothing was done to those. What may fail comes first, the
-- acknowledgement last: a script that broke off has acknowledged nothing, and is called again.
local ids = {}
for at = 4, #ARGV, 2 do ids[#ids + 1] = ARGV[at] end
local mine = owned(KEYS[1], ARGV[1], ARGV[2], ids)
local now = now_ms()
local done, users, lost = {}, {}, {}
for number, id in ipairs(ids) do
  if mine[id] then
    done[#done + 1] = id
    users[#users + 1] = ARGV[3 + 2 * number]
    local task = KEYS[2 + number]
    redis.call('HSET', task, 'state', 'completed', 'finished', now)
    redis.call('HDEL', task, 'checkpoint')
    redis.call('EXPIRE', task, ARGV[3])
  else
    lost[#lost + 1] = id
  end
end
if #done > 0 then
  redis.call('XDEL', KEYS[1], unpack(done))
  redis.call('XACK', KEYS[1], ARGV[1], unpack(done))
  for _, user in ipairs(users) do uncount(KEYS[2], user) end
end
return lost
