-- retry: retry messages later, if they are still ours: they leave the stream and come back when they are due.
--
-- include: now owned notify
-- KEYS[1]  <prefix>:{<lane>}:stream
-- KEYS[2]  <prefix>:{<lane>}:delayed
-- KEYS[3+] <prefix>:{<lane>}:task:<item_id>, one per message
-- ARGV[1]  consumer group
-- ARGV[2]  consumer that retries
-- ARGV[3]  <prefix>:wake
-- ARGV[4]  the lane's name
-- ARGV[5+] per message: entry id, delay in ms, the member for the delayed set (JSON: task key, fields), error text
--
-- Returns the ids that no longer belong to the consumer; nothing was done to those. The acknowledgement comes last:
-- called again after a failure, it finds the same member in the set.
local ids = {}
for at = 5, #ARGV, 4 do ids[#ids + 1] = ARGV[at] end
local mine = owned(KEYS[1], ARGV[1], ARGV[2], ids)
local now = now_ms()
local lost = {}
local earliest = redis.call('ZRANGE', KEYS[2], 0, 0)[1]
for number, id in ipairs(ids) do
  if mine[id] then
    local at = 1 + 4 * number
    local due = now + tonumber(ARGV[at + 1])
    redis.call('ZADD', KEYS[2], due, ARGV[at + 2])
    redis.call('HSET', KEYS[2 + number], 'state', 'waiting', 'entry', '', 'due', due, 'error', ARGV[at + 3])
    redis.call('XDEL', KEYS[1], id)
    redis.call('XACK', KEYS[1], ARGV[1], id)
  else
    lost[#lost + 1] = id
  end
end
notify_due(KEYS[2], earliest, ARGV[3], ARGV[4])
return lost
