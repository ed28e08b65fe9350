-- checkpoint: keep a handler's progress with its messages, or what became of them, if all of them are still ours.
--
-- include: owned
-- KEYS[1]  <prefix>:{<lane>}:stream
-- KEYS[2+] <prefix>:{<lane>}:task:<user>/<item_id>, one per message
-- ARGV[1]  consumer group
-- ARGV[2]  consumer that runs them
-- ARGV[3]  the field of the record: checkpoint, or result
-- ARGV[4]  its value, JSON
-- ARGV[5+] entry ids
--
-- Returns the ids that no longer belong to the consumer. If there is one, nothing at all was written.
local ids = {unpack(ARGV, 5)}
local mine = owned(KEYS[1], ARGV[1], ARGV[2], ids)
local lost = {}
for _, id in ipairs(ids) do
  if not mine[id] then lost[#lost + 1] = id end
end
if #lost > 0 then return lost end
for number = 1, #ids do redis.call('HSET', KEYS[1 + number], ARGV[3], ARGV[4]) end
return lost
