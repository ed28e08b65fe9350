-- mark: write in the status of messages that they are running, if they are still ours.
--
-- include: owned
-- KEYS[1]  <prefix>:{<lane>}:stream
-- KEYS[2+] <prefix>:{<lane>}:task:<item_id>, one per message
-- ARGV[1]  consumer group
-- ARGV[2]  consumer that runs them
-- ARGV[3+] per message: entry id, time of the start in ms
--
-- Returns the ids that no longer belong to the consumer; nothing was done to those.
local ids = {}
for at = 3, #ARGV, 2 do ids[#ids + 1] = ARGV[at] end
local mine = owned(KEYS[1], ARGV[1], ARGV[2], ids)
local lost = {}
for number, id in ipairs(ids) do
  if mine[id] then
    redis.call('HSET', KEYS[1 + number], 'state', 'in_progress', 'entry', id, 'worker', ARGV[2], 'started', ARGV[2 + 2 * number])
  else
    lost[#lost + 1] = id
  end
end
return lost
