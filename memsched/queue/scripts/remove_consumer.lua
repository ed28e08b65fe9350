-- remove_consumer: remove a consumer from a lane's group, only if it owns nothing (XGROUP DELCONSUMER would drop what it owns).
--
-- include: now died owned
-- KEYS[1]  <prefix>:{<lane>}:stream
-- KEYS[2]  <prefix>:{<lane>}:leases
-- KEYS[3]  <prefix>:{<lane>}:deaths
-- ARGV[1]  consumer group
-- ARGV[2]  the consumer
-- ARGV[3]  '1' if its worker is dead, '0' if it says goodbye
--
-- Returns how many messages it still owns; at 0 it is gone.
if ARGV[3] == '1' then died(KEYS[3], ARGV[2], now_ms()) end
local held, exists = rows_of('XPENDING', KEYS[1], ARGV[1], '-', '+', 1, ARGV[2])
if #held > 0 then return #held end
if exists then redis.call('XGROUP', 'DELCONSUMER', KEYS[1], ARGV[1], ARGV[2]) end
redis.call('HDEL', KEYS[2], ARGV[2])
return 0
