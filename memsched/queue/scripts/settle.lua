-- settle: acknowledge messages that are done, and delete them, if they are still ours.
--
-- include: now owned users record
-- KEYS[1..5] the lane: stream, delayed, dead, users, parked
-- KEYS[6+] <prefix>:{<lane>}:task:<user>/<item_id>, one per message
-- ARGV[1]  consumer group
-- ARGV[2]  consumer that settles
-- ARGV[3]  seconds for which the status of a finished message is kept
-- ARGV[4]  most messages of one user in the stream (0: no limit)
-- ARGV[5+] per message: entry id, user id ('' if it was never counted)
--
-- Returns the ids that no longer belong to the consumer; nothing was done to those. What may fail comes first, the
-- acknowledgement last: a script that broke off has acknowledged nothing, and is called again.
local lane = lane_at(1, ARGV[4])
local ids = {}
for at = 5, #ARGV, 2 do ids[#ids + 1] = ARGV[at] end
local mine = owned(lane.stream, ARGV[1], ARGV[2], ids)
local now = now_ms()
local done, done_of, lost = {}, {}, {}
for number, id in ipairs(ids) do
  if mine[id] then
    done[#done + 1] = id
    local user = ARGV[4 + 2 * number]
    done_of[user] = done_of[user] or {}
    table.insert(done_of[user], id)
    record_completed(KEYS[5 + number], now, ARGV[3])
  else
    lost[#lost + 1] = id
  end
end
if #done > 0 then
  redis.call('XDEL', lane.stream, unpack(done))
  redis.call('XACK', lane.stream, ARGV[1], unpack(done))
  for user, theirs in pairs(done_of) do uncount(lane, user, theirs, now) end
end
return lost
