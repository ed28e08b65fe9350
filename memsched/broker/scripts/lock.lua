-- lock: keep, renew or let go of what only one process at a time may do.
--
-- KEYS[1]  the key of what is held
-- ARGV[1]  who wants it
-- ARGV[2]  for how many seconds; 0 lets go of it
--
-- Returns '' if it is held by (or, for 0, was let go of by) who wants it, and who holds it if that is somebody else.
local holder = redis.call('HGET', KEYS[1], 'by')
if holder and holder ~= ARGV[1] then return holder end
if ARGV[2] == '0' then
  redis.call('DEL', KEYS[1])
else
  redis.call('HSET', KEYS[1], 'by', ARGV[1])
  redis.call('EXPIRE', KEYS[1], ARGV[2])
end
return ''
