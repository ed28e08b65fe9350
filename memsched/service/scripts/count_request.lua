-- count_request: count a request in its window, which begins with the first one.
--
-- KEYS[1]  <prefix>:rate:<limit and API key>
-- ARGV[1]  seconds of the window
-- ARGV[2]  how many requests
--
-- Returns how many there were in the window.
local count = redis.call('INCRBY', KEYS[1], ARGV[2])
if count == tonumber(ARGV[2]) then
  redis.call('EXPIRE', KEYS[1], ARGV[1])
end
return count
