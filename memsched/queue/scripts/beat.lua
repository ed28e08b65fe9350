-- beat: a worker's heartbeat, by the server's clock.
--
-- include: now
-- KEYS[1]  <prefix>:workers
-- ARGV[1]  worker id
--
-- Returns the server's time in ms.
local now = now_ms()
redis.call('ZADD', KEYS[1], now, ARGV[1])
return now
