-- hold: keep, renew or let go of what only one process at a time may do.
--
-- KEYS[1]  the key of what is held
-- ARGV[1]  who wants it
-- ARGV[2]  for how many ms; 0 lets go of it
--
-- Returns 1 if it is held by (or, for 0, was let go of by) who wants it, 0 if somebody else holds it.
local holder = redis.call('GET', KEYS[1])
if holder and holder ~= ARGV[1] then return 0 end
if ARGV[2] == '0' then redis.call('DEL', KEYS[1])
else redis.call('SET', KEYS[1], ARGV[1], 'PX', ARGV[2]) end
return 1
