-- ungrant: strike a share off the owner's list, unless it was granted anew since.
--
-- KEYS[1]  <prefix>:user:{<owner>}:grants:<cube>
-- ARGV[1]  with whom it was shared, escaped
-- ARGV[2]  number of the change that ends it
--
-- Returns how many were struck off.
local noted = redis.call('HGET', KEYS[1], ARGV[1])
if not noted or tonumber(string.match(noted, '^%a+ (%d+) ')) > tonumber(ARGV[2]) then return 0 end
return redis.call('HDEL', KEYS[1], ARGV[1])
