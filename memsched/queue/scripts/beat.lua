-- beat: a worker's heartbeat, by the server's clock.
--
-- include: now
-- KEYS[1]  <prefix>:workers
-- ARGV[1]  worker id
-- ARGV[2]  ms of silence after which a worker counts as dead
--
-- A time in which nobody at all was heard is nobody's silence: the server was away, or its clock was put forward (or
-- back). Then all that are registered are moved on with it. (0 stays: that one was seen to die.)
--
-- Returns {the server's time in ms, 1 if the worker was not listed, the workers that count as dead}.
local now, ttl = tonumber(now_ms()), tonumber(ARGV[2])
local newest = redis.call('ZREVRANGE', KEYS[1], 0, 0, 'WITHSCORES')[2]
newest = newest and tonumber(newest) or 0
local missed = newest > 0 and (newest > now and now - newest or math.max(0, now - newest - ttl / 2)) or 0
if missed ~= 0 then
  local listed = redis.call('ZRANGE', KEYS[1], 0, -1, 'WITHSCORES')
  for at = 1, #listed, 2 do
    local score = tonumber(listed[at + 1])
    if score > 0 then redis.call('ZADD', KEYS[1], string.format('%.0f', score + missed), listed[at]) end
  end
end
local added = redis.call('ZADD', KEYS[1], now, ARGV[1])
local dead = redis.call('ZRANGEBYSCORE', KEYS[1], '-inf', string.format('%.0f', now - ttl), 'LIMIT', 0, 100)
return {string.format('%.0f', now), added, dead}
