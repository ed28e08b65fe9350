-- commit_adapters: write what a cube has of parameter memory, if nobody wrote since it was read.
--
-- KEYS[1]  <prefix>:cube:{<cube>}:adapters
-- ARGV[1]  version that was read
-- ARGV[2]  number of fields that go, then their names
-- then     fields and values that changed
--
-- Returns {"written" or "contested", version now}.

local version = redis.call('HGET', KEYS[1], 'version') or '0'
if version ~= ARGV[1] then
  return {'contested', version}
end
local gone = tonumber(ARGV[2])
if gone > 0 then redis.call('HDEL', KEYS[1], unpack(ARGV, 3, 2 + gone)) end
if #ARGV > 2 + gone then redis.call('HSET', KEYS[1], unpack(ARGV, 3 + gone)) end
return {'written', tostring(redis.call('HINCRBY', KEYS[1], 'version', 1))}
