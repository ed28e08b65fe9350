-- clear: drop unfinished messages for good. Workers that run one of them are told at their next renewal.
--
-- KEYS[1]  <prefix>:{<lane>}:stream
-- KEYS[2]  <prefix>:{<lane>}:delayed
-- KEYS[3]  <prefix>:{<lane>}:users
-- KEYS[4]  <prefix>:{<lane>}:outbox
-- KEYS[5+] <prefix>:{<lane>}:task:<item_id>, one per message
-- ARGV[1]  consumer group
-- ARGV[2]  'last' to drop the delayed messages and the counters as well
-- ARGV[3+] entry ids
--
-- Returns how many messages were dropped.
local dropped = 0
for at = 3, #ARGV do
  redis.pcall('XACK', KEYS[1], ARGV[1], ARGV[at])
  dropped = dropped + redis.call('XDEL', KEYS[1], ARGV[at])
end
for number = 5, #KEYS do redis.call('DEL', KEYS[number]) end
if ARGV[2] == 'last' then
  for _, member in ipairs(redis.call('ZRANGE', KEYS[2], 0, -1)) do
    local read, fields = pcall(cjson.decode, member)
    if read and type(fields) == 'table' and fields[1] then redis.call('DEL', fields[1]) end
    dropped = dropped + 1
  end
  redis.call('DEL', KEYS[2], KEYS[4])
  if redis.call('XLEN', KEYS[1]) == 0 then redis.call('DEL', KEYS[3]) end
end
return dropped
