-- retry: retry messages later, if they are still ours: they leave the stream and come back when they are due.
--
-- include: now owned users notify record
-- KEYS[1..5] the lane: stream, delayed, dead, users, parked
-- KEYS[6+] <prefix>:{<lane>}:task:<user>/<item_id>, one per message
-- ARGV[1]  consumer group
-- ARGV[2]  consumer that retries
-- ARGV[3]  most messages of one user in the stream (0: no limit)
-- ARGV[4]  <prefix>:wake
-- ARGV[5]  the lane's name
-- ARGV[6+] per message: entry id, user id ('' if it was never counted), delay in ms, the member for the delayed set
--          (JSON: task key, fields), error text
--
-- Returns the ids that no longer belong to the consumer; nothing was done to those. The acknowledgement comes last:
-- called again after a failure, it finds the same member in the set.
local lane = lane_at(1, ARGV[3])
local ids = {}
for at = 6, #ARGV, 5 do ids[#ids + 1] = ARGV[at] end
local mine = owned(lane.stream, ARGV[1], ARGV[2], ids)
local now = now_ms()
local lost = {}
local earliest = redis.call('ZRANGE', lane.delayed, 0, 0)[1]
for number, id in ipairs(ids) do
  if mine[id] then
    local at = 1 + 5 * number
    local user, due = ARGV[at + 1], now + tonumber(ARGV[at + 2])
    record(KEYS[5 + number], 'HSET', 'state', 'waiting', 'entry', '', 'due', due, 'error', ARGV[at + 4])
    if ARGV[at + 4] ~= '' then record(KEYS[5 + number], 'HINCRBY', 'failures', 1) end
    delay_until(lane, user, due, ARGV[at + 3], function() return redis.pcall('XDEL', lane.stream, id) end)
    redis.call('XACK', lane.stream, ARGV[1], id)
    uncount(lane, user, {id}, now)
  else
    lost[#lost + 1] = id
  end
end
notify_due(lane.delayed, earliest, ARGV[4], ARGV[5])
return lost
