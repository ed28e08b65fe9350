-- register: make a cube of the user's own, unless its name stands for something else.
--
-- KEYS[1]  <prefix>:user:{<user>}:cubes
-- KEYS[2]  <prefix>:user:{<user>}:configs
-- ARGV[1]  the user's name of the cube, escaped
-- ARGV[2]  'asked' where the user asked for it: that takes back a name whose share was revoked; else 'auto'
-- ARGV[3]  configuration as JSON; empty: what is there stays
--
-- Returns the entry that the name has now; 'own' if the cube is the user's.
local entry = redis.call('HGET', KEYS[1], ARGV[1])
if not entry or (ARGV[2] == 'asked' and string.sub(entry, 1, 8) == 'revoked ') then
  entry = 'own'
  redis.call('HSET', KEYS[1], ARGV[1], entry)
end
if entry == 'own' and ARGV[3] ~= '' then redis.call('HSET', KEYS[2], ARGV[1], ARGV[3]) end
return entry
