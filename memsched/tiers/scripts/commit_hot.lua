-- commit_hot: write a cube's hot state, if nobody wrote since it was read and some message in it is new.
--
-- KEYS[1]  <prefix>:cube:{<cube>}:hot
-- KEYS[2]  <prefix>:cube:{<cube>}:applied
-- KEYS[3]  <prefix>:cube:{<cube>}:talk
-- KEYS[4]  <prefix>:cube:{<cube>}:tombstones
-- ARGV[1]  version that was read
-- ARGV[2]  now, ms
-- ARGV[3]  how many applied messages are remembered
-- ARGV[4]  and for how long, ms; so long the talk stays when nobody says anything more
-- ARGV[5]  how many questions and answers are remembered
-- ARGV[6]  number of marks, then the marks of the messages applied
-- then     number of new questions and answers, then of each when it was said, ms, and what it is
-- then     number of those to be forgotten, then what each is
-- then     how many tombstones are kept, number of new ones, then of each its name and its time, ms
-- then     fields and values that changed
--
-- Returns {"written" or "contested", version now}.

local version = redis.call('HGET', KEYS[1], 'version') or '0'
if version ~= ARGV[1] then
  return {'contested', version}
end
local at = 6
local function count()
  at = at + 1
  return tonumber(ARGV[at - 1])
end
for _ = 1, count() do
  redis.call('ZADD', KEYS[2], 'NX', ARGV[2], ARGV[at])
  at = at + 1
end
redis.call('ZREMRANGEBYRANK', KEYS[2], 0, -tonumber(ARGV[3]) - 1)
redis.call('ZREMRANGEBYSCORE', KEYS[2], '-inf', tonumber(ARGV[2]) - tonumber(ARGV[4]))
redis.call('PEXPIRE', KEYS[2], ARGV[4])
for _ = 1, count() do
  redis.call('ZADD', KEYS[3], ARGV[at], ARGV[at + 1])
  at = at + 2
end
redis.call('ZREMRANGEBYRANK', KEYS[3], 0, -tonumber(ARGV[5]) - 1)
redis.call('PEXPIRE', KEYS[3], ARGV[4])
for _ = 1, count() do
  redis.call('ZREM', KEYS[3], ARGV[at])
  at = at + 1
end
local kept, laid = count(), count()
for _ = 1, laid do
  redis.call('ZADD', KEYS[4], ARGV[at + 1], ARGV[at])
  at = at + 2
end
if laid > 0 then redis.call('ZREMRANGEBYRANK', KEYS[4], 0, -kept - 1) end
if #ARGV >= at then
  redis.call('HSET', KEYS[1], unpack(ARGV, at))
end
return {'written', tostring(redis.call('HINCRBY', KEYS[1], 'version', 1))}
