-- create_key: keep an API key, and forget some that have expired.
--
-- KEYS[1]  <prefix>:keys
-- KEYS[2]  {<prefix>:keys}:due
-- KEYS[3]  {<prefix>:keys}:used
-- ARGV[1]  the key's id
-- ARGV[2]  what is kept of it
-- ARGV[3]  when it expires, ms; 0: never
-- ARGV[4]  now, ms
-- ARGV[5]  the id of the key that mints it; empty: an operator makes it
--
-- Returns 1; 0 if the key that mints it is there no more, or the id is taken. Nothing was kept then.
local due = redis.call('ZRANGEBYSCORE', KEYS[2], '-inf', ARGV[4], 'LIMIT', 0, 100)
for _, id in ipairs(due) do
  redis.call('HDEL', KEYS[1], id)
  redis.call('ZREM', KEYS[2], id)
  redis.call('HDEL', KEYS[3], id)
end
if ARGV[5] ~= '' and redis.call('HEXISTS', KEYS[1], ARGV[5]) == 0 then return 0 end
redis.call('HSETNX', KEYS[1], ARGV[1], ARGV[2])
if redis.call('HGET', KEYS[1], ARGV[1]) ~= ARGV[2] then return 0 end -- equal where this is sent once more
if ARGV[3] ~= '0' then redis.call('ZADD', KEYS[2], ARGV[3], ARGV[1]) end
return 1
