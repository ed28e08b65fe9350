-- revoke_key: end an API key. Those that it minted are refused from then on, and forgotten when they expire.
--
-- KEYS[1]  <prefix>:keys
-- KEYS[2]  {<prefix>:keys}:due
-- KEYS[3]  {<prefix>:keys}:used
-- ARGV[1]  the key's id
--
-- Returns 1; 0 if there is none.
redis.call('ZREM', KEYS[2], ARGV[1])
redis.call('HDEL', KEYS[3], ARGV[1])
return redis.call('HDEL', KEYS[1], ARGV[1])
