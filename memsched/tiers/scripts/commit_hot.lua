-- commit_hot: write a cube's hot state, if nobody wrote since it was read and some message in it is new.
--
-- KEYS[1]  <prefix>:cube:{<cube>}:hot
-- KEYS[2]  <prefix>:cube:{<cube>}:applied
-- ARGV[1]  version that was read
-- ARGV[2]  now, ms
-- ARGV[3]  how many applied messages are remembered
-- ARGV[4]  and for how long, ms
-- ARGV[5]  number of marks, then the marks of the messages applied; then fields and values that changed
--
-- Returns {"written" or "contested", version now}.

local version = redis.call('HGET', KEYS[1], 'version') or '0'
if version ~= ARGV[1] then
  return {'contested', version}
end
local marks = tonumber(ARGV[5])
for at = 6, 5 + marks do
  redis.call('ZADD', KEYS[2], 'NX', ARGV[2], ARGV[at])
end
redis.call('ZREMRANGEBYRANK', KEYS[2], 0, -tonumber(ARGV[3]) - 1)
redis.call('ZREMRANGEBYSCORE', KEYS[2], '-inf', tonumber(ARGV[2]) - tonumber(ARGV[4]))
redis.call('PEXPIRE', KEYS[2], ARGV[4])
if #ARGV >= 6 + marks then
  redis.call('HSET', KEYS[1], unpack(ARGV, 6 + marks))
end
return {'written', tostring(redis.call('HINCRBY', KEYS[1], 'version', 1))}
