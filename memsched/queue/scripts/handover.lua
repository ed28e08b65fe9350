-- handover: a worker was seen to die: what it holds is claimable at once, and it counts as dead.
--
-- include: now died notify owned
-- KEYS[1]  <prefix>:{<lane>}:stream
-- KEYS[2]  <prefix>:{<lane>}:leases
-- KEYS[3]  <prefix>:{<lane>}:deaths
-- ARGV[1]  consumer group
-- ARGV[2]  the dead consumer
-- ARGV[3]  <prefix>:wake
-- ARGV[4]  the lane's name
--
-- Returns how many messages it held. They stay in its name, so that their next owner can say whom it took them from.
local consumers, exists = rows_of('XINFO', 'CONSUMERS', KEYS[1], ARGV[1])
local held = 0
for _, flat in ipairs(consumers) do
  local consumer = {}
  for at = 1, #flat, 2 do consumer[flat[at]] = flat[at + 1] end
  if consumer.name == ARGV[2] then held = consumer.pending end
end
if exists then died(KEYS[3], ARGV[2], now_ms()) end
if held > 0 then
  redis.call('HSET', KEYS[2], ARGV[2], 0)
  notify_claimable(ARGV[3], ARGV[4])
end
return held
