-- status: the state of one lane at one instant, at a cost that does not depend on how much it holds.
--
-- include: now
-- KEYS[1]  <prefix>:{<lane>}:stream
-- KEYS[2]  <prefix>:{<lane>}:delayed
-- KEYS[3]  <prefix>:{<lane>}:dead
-- KEYS[4]  <prefix>:{<lane>}:outbox
-- ARGV[1]  consumer group
--
-- Returns {unfinished in the stream, {{consumer, how many it holds}, ...}, delayed, dead, in the outbox,
-- age of the oldest entry in ms ('' if there is none)}.
local pending = redis.pcall('XPENDING', KEYS[1], ARGV[1])
local held = not pending.err and pending[4] or {}
local oldest = redis.call('XRANGE', KEYS[1], '-', '+', 'COUNT', 1)[1]
local age = ''
if oldest then
  local since = string.match(oldest[1], '^%d+')
  for name = 1, #oldest[2], 2 do
    if oldest[2][name] == 'submitted' then since = oldest[2][name + 1] end
  end
  age = string.format('%.0f', math.max(0, tonumber(now_ms()) - (tonumber(since) or 0)))
end
return {
  redis.call('XLEN', KEYS[1]), held, redis.call('ZCARD', KEYS[2]), redis.call('XLEN', KEYS[3]),
  redis.call('LLEN', KEYS[4]), age,
}
