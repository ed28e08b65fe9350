-- count_terms: count the words of new memories, once per message; or count those of deleted ones no more.
--
-- KEYS[1]  <prefix>:cube:{<cube>}:terms
-- KEYS[2]  <prefix>:cube:{<cube>}:applied
-- ARGV[1]  now, ms
-- ARGV[2]  how many applied messages are remembered
-- ARGV[3]  and for how long, ms
-- ARGV[4]  how many stems are kept: of more, of a few taken at random the rarest go
-- ARGV[5+] per message: its mark, number of pairs, then pairs of stem and count; a count may be negative
--
-- A word that no memory has any more is not kept. Below 0 is what was deleted before whoever stored it had it counted;
-- in a cube of which not all stems are kept, it may as well be one that was dropped.
-- Returns how many messages were counted; those that were counted before are skipped.

local counted = 0
local full = redis.call('HLEN', KEYS[1]) >= tonumber(ARGV[4])
local at = 5
while at <= #ARGV do
  local pairs_here = tonumber(ARGV[at + 1])
  if redis.call('ZADD', KEYS[2], 'NX', ARGV[1], ARGV[at]) == 1 then
    counted = counted + 1
    for place = at + 2, at + 2 * pairs_here, 2 do
      local count = redis.call('HINCRBY', KEYS[1], ARGV[place], ARGV[place + 1])
      if count == 0 or (count < 0 and full) then
        redis.call('HDEL', KEYS[1], ARGV[place])
      end
    end
  end
  at = at + 2 + 2 * pairs_here
end
local excess = math.min(redis.call('HLEN', KEYS[1]) - tonumber(ARGV[4]), 1000)
if excess > 0 then
  local taken = redis.call('HRANDFIELD', KEYS[1], 4 * excess, 'WITHVALUES')
  local counts = {}
  for place = 1, #taken, 2 do
    local kind = taken[place]:sub(1, 1) -- the number of memories, and the speakers, are no words
    if kind ~= '#' and kind ~= '@' then counts[#counts + 1] = {tonumber(taken[place + 1]), taken[place]} end
  end
  table.sort(counts, function(one, other) return one[1] < other[1] end)
  for number = 1, math.min(excess, #counts) do redis.call('HDEL', KEYS[1], counts[number][2]) end
end
redis.call('ZREMRANGEBYRANK', KEYS[2], 0, -tonumber(ARGV[2]) - 1)
redis.call('ZREMRANGEBYSCORE', KEYS[2], '-inf', tonumber(ARGV[1]) - tonumber(ARGV[3]))
redis.call('PEXPIRE', KEYS[2], ARGV[3])
return counted
