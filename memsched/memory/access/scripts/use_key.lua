-- use_key: what is kept of an API key that somebody asks with, and when that was.
--
-- KEYS[1]  <prefix>:keys
-- KEYS[2]  {<prefix>:keys}:used
-- ARGV[1]  the key's id
-- ARGV[2]  the id of the key that minted it; else its own
-- ARGV[3]  now, ms
-- ARGV[4]  ms for which the last time of use stands as it is
--
-- Returns what is kept of it; '' if there is no such key, or the one that minted it is there no more.
local kept = redis.call('HGET', KEYS[1], ARGV[1])
if not kept or redis.call('HEXISTS', KEYS[1], ARGV[2]) == 0 then return '' end
local used = redis.call('HGET', KEYS[2], ARGV[1])
if not used or tonumber(used) + tonumber(ARGV[4]) <= tonumber(ARGV[3]) then
  redis.pcall('HSET', KEYS[2], ARGV[1], ARGV[3]) -- a server that takes no writes, because it is full, knows keys all the same
end
return kept
