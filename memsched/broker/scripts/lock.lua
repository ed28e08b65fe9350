-- lock: acquire a lock, renew its lease, or release it.
--
-- KEYS[1]  the lock's key
-- ARGV[1]  who wants it
-- ARGV[2]  seconds of the lease; 0 releases the lock
--
-- Returns '' if it is held by (or, for 0, was released by) who wants it, and who holds it if that is somebody else.
local holder = redis.call('HGET', KEYS[1], 'by')
if holder and holder ~= ARGV[1] then return holder end
if ARGV[2] == '0' then
  redis.call('DEL', KEYS[1])
else
  redis.call('HSET', KEYS[1], 'by', ARGV[1])
  redis.call('EXPIRE', KEYS[1], ARGV[2])
end
return ''
