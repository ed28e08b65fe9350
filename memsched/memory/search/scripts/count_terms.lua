-- count_terms: count the words of new memories, once per message; or count those of deleted ones no more.
--
-- KEYS[1]  <prefix>:cube:{<cube>}:terms
-- KEYS[2]  <prefix>:cube:{<cube>}:applied
-- ARGV[1]  now, ms
-- ARGV[2]  how many applied messages are remembered
-- ARGV[3]  and for how long, ms
-- ARGV[4+] per message: its mark, number of pairs, then pairs of stem and count; a count may be negative
--
-- A word that no memory has any more is not kept.
-- Returns how many messages were counted; those that were counted before are skipped.

local counted = 0
local at = 4
while at <= #ARGV do
  local pairs_here = tonumber(ARGV[at + 1])
  if redis.call('ZADD', KEYS[2], 'NX', ARGV[1], ARGV[at]) == 1 then
    counted = counted + 1
    for place = at + 2, at + 2 * pairs_here, 2 do
      if redis.call('HINCRBY', KEYS[1], ARGV[place], ARGV[place + 1]) <= 0 then
        redis.call('HDEL', KEYS[1], ARGV[place])
      end
    end
  end
  at = at + 2 + 2 * pairs_here
end
redis.call('ZREMRANGEBYRANK', KEYS[2], 0, -tonumber(ARGV[2]) - 1)
redis.call('ZREMRANGEBYSCORE', KEYS[2], '-inf', tonumber(ARGV[1]) - tonumber(ARGV[3]))
redis.call('PEXPIRE', KEYS[2], ARGV[3])
return counted
