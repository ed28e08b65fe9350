-- checkpoint: keep a handler's progress with its messages, if all of them are still ours.
--
-- include: owned
-- KEYS[1]  <prefix>:{<lane>}:stream
-- KEYS[2+] <prefix>:{<lane>}:task:<user>/<item_id>, one per message
-- ARGV[1]  consumer group
-- ARGV[2]  consumer that runs them
-- ARGV[3]  the checkpoint, JSON
-- ARGV[4+] entry ids
--
-- Returns the ids that no longer belong to the consumer. If there is one, nothing at all was written.
local ids = {unpack(ARGV, 4)}
local mine = owned(KEYS[1], ARGV[1], ARGV[2], ids)
local lost = {}
for _, id in ipairs(ids) do
  if not mine[id] then lost[#lost + 1] = id end
end
if #lost > 0 then return lost end
for number = 1, #ids do redis.call('HSET', KEYS[1 + number], 'checkpoint', ARGV[3]) end
return lost
