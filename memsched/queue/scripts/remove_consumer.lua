-- remove_consumer: remove a consumer from a lane's group, only if it owns nothing (XGROUP DELCONSUMER would drop what it owns).
--
-- KEYS[1]  <prefix>:{<lane>}:stream
-- ARGV[1]  consumer group
-- ARGV[2]  the consumer
--
-- Returns how many messages it still owns; at 0 it is gone.
local held = redis.pcall('XPENDING', KEYS[1], ARGV[1], '-', '+', 1, ARGV[2])
if held.err then return 0 end
if #held > 0 then return #held end
redis.call('XGROUP', 'DELCONSUMER', KEYS[1], ARGV[1], ARGV[2])
return 0
